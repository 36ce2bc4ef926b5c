import { readFileSync } from 'node:fs';
import { configInvalid, reasonOf } from './errors.js';

/** The bytes of a file that the setting `key` names. Throws `config_invalid`. */
export function readSettingFile(key: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw configInvalid(key, `${path} can't be read: ${reasonOf(cause)}`, cause);
  }
}

/** Its JSON, unchecked. Throws `config_invalid`, which quotes nothing of the file, for that may hold secrets. */
export function readSettingJson(key: string, path: string): unknown {
  const text = readSettingFile(key, path)
    .toString('utf8')
    .replace(/^\uFEFF/, '');
  try {
    return JSON.parse(text);
  } catch {
    throw configInvalid(key, `${path} is not valid JSON`);
  }
}
