import { type ErrorCode, errorTable, messageOf, NibbleError } from '../errors.js';

/** Whatever was thrown, as ours: the addon's codes that stand in the table keep their name, the rest are the engine's. */
export function asNibbleError(error: unknown): NibbleError {
  if (error instanceof NibbleError) return error;
  const message = messageOf(error);
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code.startsWith('model_tensor_') && code !== 'model_tensor_type_unsupported' && Object.hasOwn(errorTable, code)) {
    return new NibbleError(code as Extract<ErrorCode, 'model_tensor_shape'>, { message }, { cause: error });
  }
  return new NibbleError('engine_failed', { message }, { cause: error });
}
