/**
 * Every coded error of Nibble: code, HTTP status, OpenAI `type`, and the message from typed parameters.
 * docs/errors.md lists the same codes; a test compares.
 */
type ErrorType =
  | 'invalid_request_error'
  | 'authentication_error'
  | 'not_found_error'
  | 'rate_limit_error'
  | 'server_error'
  | 'unavailable_error';

type Row<P> = { readonly status: number; readonly type: ErrorType; readonly text: (p: P) => string };
const row = <P>(status: number, type: ErrorType, text: (p: P) => string): Row<P> => ({ status, type, text });

export const errorTable = {
  // Requests
  invalid_request: row<{ message: string }>(400, 'invalid_request_error', (p) => p.message),
  unsupported_parameter: row<{ parameter: string; message: string }>(
    400,
    'invalid_request_error',
    (p) => `'${p.parameter}' is not supported here: ${p.message}`,
  ),
  constraint_invalid: row<{ message: string }>(400, 'invalid_request_error', (p) => p.message),
  constraint_too_complex: row<{ message: string }>(400, 'invalid_request_error', (p) => p.message),
  context_length_exceeded: row<{ promptTokens: number; limitTokens: number }>(
    400,
    'invalid_request_error',
    (p) => `The prompt has ${p.promptTokens} tokens; the limit of this server is ${p.limitTokens}. Shorten the prompt.`,
  ),
  kv_capacity_exceeded: row<{ neededTokens: number; capacityTokens: number }>(
    400,
    'invalid_request_error',
    (p) =>
      `Prompt and max_tokens need ${p.neededTokens} tokens of KV cache; the whole pool holds ${p.capacityTokens}. Lower max_tokens or shorten the prompt.`,
  ),
  chat_template_missing: row<object>(
    400,
    'invalid_request_error',
    () => 'This model has no chat template; use /v1/completions.',
  ),
  chat_template_failed: row<{ message: string }>(
    400,
    'invalid_request_error',
    (p) => `The chat template of this model can't render these messages: ${p.message}`,
  ),
  embeddings_unavailable: row<object>(
    400,
    'invalid_request_error',
    () => 'This model generates text; it was not trained to make embeddings, and this server serves no model that was.',
  ),
  invalid_api_key: row<object>(
    401,
    'authentication_error',
    () => 'This server needs an API key: send a known one as "Authorization: Bearer KEY".',
  ),
  host_unknown: row<{ host: string }>(
    421,
    'invalid_request_error',
    (p) =>
      `This server answers this machine only, and not under the name '${p.host}'. Use 127.0.0.1 or localhost; behind a proxy, let --cors-origins name the origin, or set API keys.`,
  ),
  key_limit_exceeded: row<{ limit: string }>(
    429,
    'rate_limit_error',
    (p) => `This API key is limited to ${p.limit}. Retry later.`,
  ),
  request_timeout: row<{ seconds: number }>(
    504,
    'server_error',
    (p) => `The request took more than ${p.seconds} seconds and was stopped. Ask for fewer tokens.`,
  ),
  model_not_found: row<{ model: string; available: readonly string[] }>(
    404,
    'not_found_error',
    (p) => `The model '${p.model}' does not exist. Available: ${p.available.join(', ')}.`,
  ),
  route_not_found: row<{ method: string; url: string }>(
    404,
    'not_found_error',
    (p) => `No route ${p.method} ${p.url}.`,
  ),
  method_not_allowed: row<{ method: string; url: string; allowed: string }>(
    405,
    'invalid_request_error',
    (p) => `${p.method} is not allowed on ${p.url}; use ${p.allowed}.`,
  ),
  body_too_large: row<{ limitBytes: number }>(
    413,
    'invalid_request_error',
    (p) => `The request body is larger than ${p.limitBytes} bytes.`,
  ),
  unsupported_media_type: row<{ contentType: string }>(
    415,
    'invalid_request_error',
    (p) => `Content type '${p.contentType}' is not supported; send application/json.`,
  ),
  queue_full: row<{ waiting: number }>(
    429,
    'rate_limit_error',
    (p) => `${p.waiting} sequences are already waiting. Retry later.`,
  ),
  queue_timeout: row<{ waitedSeconds: number }>(
    503,
    'unavailable_error',
    (p) => `The request waited ${p.waitedSeconds} seconds for its turn. Retry later.`,
  ),
  model_loading: row<object>(503, 'unavailable_error', () => 'Loading model'),
  model_unavailable: row<{ model: string }>(
    503,
    'unavailable_error',
    (p) => `The model '${p.model}' could not be loaded; the server's log and GET /admin/models say why.`,
  ),
  draining: row<object>(
    503,
    'unavailable_error',
    () => 'The server is shutting down. Retry with another, or when it is back.',
  ),
  ledger_off: row<object>(
    400,
    'invalid_request_error',
    () => 'This server keeps no ledger of costs: it was started without --ledger.',
  ),
  ledger_unavailable: row<object>(
    503,
    'unavailable_error',
    () => "The ledger of costs can't be read at the moment. Retry later; the log says why.",
  ),
  not_finite: row<object>(
    500,
    'server_error',
    () => 'The model produced a value that is not finite; this sequence was stopped.',
  ),
  engine_failed: row<{ message: string }>(500, 'server_error', (p) => `The engine failed: ${p.message}`),
  internal: row<object>(
    500,
    'server_error',
    () => "An internal error occurred. The server's log has it under the x-request-id of this answer.",
  ),
  // Settings and the process
  listen_failed: row<{ address: string; message: string }>(
    500,
    'server_error',
    (p) => `Can't listen on ${p.address}: ${p.message}`,
  ),
  addon_unusable: row<{ path: string; message: string }>(
    500,
    'server_error',
    (p) => `The native addon ${p.path} ${p.message}. Build it with "npm run build:native".`,
  ),
  config_invalid: row<{ key: string; message: string }>(400, 'invalid_request_error', (p) => `${p.key}: ${p.message}`),
  // Models that are loaded and unloaded
  model_exists: row<{ model: string }>(409, 'invalid_request_error', (p) => `The name '${p.model}' is taken.`),
  models_full: row<{ limit: number }>(
    409,
    'invalid_request_error',
    (p) => `${p.limit} models are known already; unload one with "remove": true first.`,
  ),
  model_in_use: row<{ model: string; alias: string }>(
    409,
    'invalid_request_error',
    (p) => `The alias '${p.alias}' leads to '${p.model}'; let it lead elsewhere first.`,
  ),
  alias_not_found: row<{ alias: string }>(404, 'not_found_error', (p) => `The alias '${p.alias}' does not exist.`),
  aliases_full: row<{ limit: number }>(
    409,
    'invalid_request_error',
    (p) => `There are ${p.limit} aliases already; use one of them.`,
  ),
  canary_missing: row<{ alias: string }>(
    409,
    'invalid_request_error',
    (p) => `The alias '${p.alias}' has no candidate, and no model to go back to.`,
  ),
  canary_incompatible: row<{ baseline: string; candidate: string }>(
    409,
    'invalid_request_error',
    (p) => `'${p.candidate}' has other tokens than '${p.baseline}': their answers can't be compared. Use "shadow": 0.`,
  ),
  model_memory_exceeded: row<{ neededBytes: number; budgetBytes: number }>(
    400,
    'invalid_request_error',
    (p) =>
      `The model needs ${Math.ceil(p.neededBytes / 1e6)} MB of memory; all models together may take ${Math.floor(p.budgetBytes / 1e6)}. Raise modelMemoryMb, or lower kvTokens.`,
  ),
  model_file_changed: row<{ path: string }>(
    409,
    'invalid_request_error',
    (p) => `The model file ${p.path} was changed while it was read. Load it again.`,
  ),
  // Model files and where they come from
  model_file_not_found: row<{ path: string }>(400, 'invalid_request_error', (p) => `No model file at ${p.path}.`),
  model_file_unreadable: row<{ path: string; message: string }>(
    400,
    'invalid_request_error',
    (p) => `The model file ${p.path} can't be read: ${p.message}`,
  ),
  model_file_invalid: row<{ path: string; message: string }>(
    400,
    'invalid_request_error',
    (p) => `${p.path} is not a valid GGUF file: ${p.message}`,
  ),
  model_architecture_unsupported: row<{ architecture: string; supported: readonly string[] }>(
    400,
    'invalid_request_error',
    (p) => `The architecture '${p.architecture}' is not supported; supported: ${p.supported.join(', ')}.`,
  ),
  model_tensor_type_unsupported: row<{ tensor: string; type: string }>(
    400,
    'invalid_request_error',
    (p) => `Tensor '${p.tensor}' has the unsupported type ${p.type}.`,
  ),
  model_tensor_out_of_range: row<{ message: string }>(400, 'invalid_request_error', (p) => p.message),
  model_tensor_shape: row<{ message: string }>(400, 'invalid_request_error', (p) => p.message),
  model_tensor_missing: row<{ message: string }>(400, 'invalid_request_error', (p) => p.message),
  model_tensor_unknown: row<{ tensor: string; architecture: string }>(
    400,
    'invalid_request_error',
    (p) =>
      `Tensor '${p.tensor}' is not part of the architecture '${p.architecture}'; ignoring it would change the model.`,
  ),
  model_tensor_not_finite: row<{ message: string }>(400, 'invalid_request_error', (p) => p.message),
  model_metadata_invalid: row<{ key: string; message: string }>(
    400,
    'invalid_request_error',
    (p) => `Model metadata ${p.key}: ${p.message}`,
  ),
  model_format_version_unsupported: row<{ version: number; newest: number }>(
    400,
    'invalid_request_error',
    (p) => `The model file has Nibble's format version ${p.version}; this program knows versions up to ${p.newest}.`,
  ),
  tokenizer_unsupported: row<{ message: string }>(400, 'invalid_request_error', (p) => `Tokenizer: ${p.message}`),
  model_unknown: row<{ name: string }>(
    400,
    'invalid_request_error',
    (p) =>
      `'${p.name}' is neither a file nor a known model name. Give the path of a GGUF file, or a name from "nibble pull --list".`,
  ),
  model_offline: row<{ name: string }>(
    400,
    'invalid_request_error',
    (p) => `The model '${p.name}' is not in the cache and --offline forbids downloading it.`,
  ),
  model_download_failed: row<{ name: string; message: string }>(
    502,
    'server_error',
    (p) => `The model '${p.name}' could not be downloaded: ${p.message}`,
  ),
  model_checksum_mismatch: row<{ path: string; expected: string; actual: string }>(
    502,
    'server_error',
    (p) => `${p.path} has sha256 ${p.actual}, expected ${p.expected}; it was removed.`,
  ),
  // Quantization
  recipe_invalid: row<{ message: string }>(400, 'invalid_request_error', (p) => `Recipe: ${p.message}.`),
  output_exists: row<{ path: string }>(
    409,
    'invalid_request_error',
    (p) => `${p.path} exists already; it is not replaced. Choose another name, or remove it first.`,
  ),
  output_unwritable: row<{ path: string; message: string }>(
    400,
    'invalid_request_error',
    (p) => `${p.path} can't be written: ${p.message}`,
  ),
  interrupted: row<object>(500, 'server_error', () => 'It was interrupted; --resume goes on where it stopped.'),
  // Costs
  ledger_unreadable: row<{ path: string; message: string }>(
    400,
    'invalid_request_error',
    (p) => `The ledger ${p.path} can't be read: ${p.message}`,
  ),
  // Benches and evaluation
  server_unreachable: row<{ url: string; message: string }>(
    502,
    'server_error',
    (p) => `The server at ${p.url} can't be asked: ${p.message}`,
  ),
  bench_failed: row<{ message: string }>(500, 'server_error', (p) => `The bench failed: ${p.message}`),
  peer_failed: row<{ peer: string; message: string }>(502, 'server_error', (p) => `The peer ${p.peer}: ${p.message}`),
  data_unreadable: row<{ path: string; message: string }>(
    400,
    'invalid_request_error',
    (p) => `The data file ${p.path} can't be read: ${p.message}`,
  ),
  data_too_short: row<{ path: string; tokens: number; neededTokens: number }>(
    400,
    'invalid_request_error',
    (p) => `${p.path} has ${p.tokens} tokens; one window needs ${p.neededTokens}.`,
  ),
  data_invalid: row<{ path: string; line: number; message: string }>(
    400,
    'invalid_request_error',
    (p) => `${p.path}, line ${p.line}: ${p.message}`,
  ),
  scenario_invalid: row<{ path: string; message: string }>(
    400,
    'invalid_request_error',
    (p) => `The scenario ${p.path}: ${p.message}.`,
  ),
  quality_gate_failed: row<{ name: string; excess: readonly string[] }>(
    400,
    'invalid_request_error',
    (p) => `${p.name} is too far from its reference: ${p.excess.join('; ')}.`,
  ),
} as const;

export type ErrorCode = keyof typeof errorTable;
export type ErrorParameters<C extends ErrorCode> = (typeof errorTable)[C] extends Row<infer P> ? P : never;

/** The one error class: `code` names a row of the table; `param` is the request field at fault, if one is. */
export class NibbleError<C extends ErrorCode = ErrorCode> extends Error {
  override readonly name = 'NibbleError';
  readonly code: C;
  readonly status: number;
  readonly type: ErrorType;
  readonly param: string | null;
  readonly retryAfterSeconds: number | null;
  readonly #parameters: ErrorParameters<C>;

  constructor(
    code: C,
    parameters: ErrorParameters<C>,
    options: { readonly param?: string; readonly retryAfterSeconds?: number; readonly cause?: unknown } = {},
  ) {
    const entry = errorTable[code] as unknown as Row<ErrorParameters<C>>;
    super(entry.text(parameters), options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = entry.status;
    this.type = entry.type;
    this.param = options.param ?? null;
    this.retryAfterSeconds = options.retryAfterSeconds ?? null;
    this.#parameters = parameters;
  }

  /** The same error, blamed on another field. */
  withParam(param: string): NibbleError<C> {
    const { retryAfterSeconds, cause } = this;
    return new NibbleError(this.code, this.#parameters, {
      param,
      cause,
      ...(retryAfterSeconds === null ? {} : { retryAfterSeconds }),
    });
  }
}

/** The error of a setting or an option: what is wrong with its value. */
export const configInvalid = (key: string, message: string, cause?: unknown): NibbleError =>
  new NibbleError('config_invalid', { key, message }, { param: key, cause });

/** What was thrown, in its own words. */
export const messageOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown));

/**
 * Why the system refused, without its code, the call and the path, which the message around it has: "no such file or
 * directory". Of anything else that was thrown, its words.
 */
export function reasonOf(thrown: unknown): string {
  const isSystem = thrown instanceof Error && 'syscall' in thrown;
  return isSystem ? thrown.message.replace(/^[A-Z]\w*: /, '').replace(/, \w+( '.*')?$/s, '') : messageOf(thrown);
}
