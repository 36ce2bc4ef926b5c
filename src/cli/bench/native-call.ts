import { NibbleError } from '../../errors.js';

/**
 * Runs something of the addon and turns its coded exceptions into NibbleErrors: arguments that it refuses came from the
 * command line (`invalid_request`), anything else is the engine's failure.
 */
export async function nativeCall<T>(call: () => T | Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    if (cause instanceof NibbleError || !(cause instanceof Error)) throw cause;
    const { message } = cause;
    const isRefusal = 'code' in cause && cause.code === 'native_invalid_argument';
    throw new NibbleError(isRefusal ? 'invalid_request' : 'engine_failed', { message }, { cause });
  }
}
