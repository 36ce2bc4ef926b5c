#pragma once
// Parts of the contract that several functions of the addon take.
#include "../engine/architecture.h"
#include "../engine/rotation.h"
#include "../formats/activation_kind.h"
#include "../formats/kv_format.h"
#include "convert.h"

namespace nibble::addon {

/// `options.architecture`
void read_architecture(Reader& options, ArchitectureSpec& architecture);
/// `reader.activations`
ActivationKind read_activation_kind(Reader& reader);
bool read_kv_formats(const std::string& name, KvFormats& formats);
/// `reader.rotation`, which may be absent
RotationPlace read_rotation(Reader& reader);

}  // namespace nibble::addon
