/** What commands print with `--json`, checked by their schemas in docs/schemas. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { program } from './program.js';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const schemas = join(root, 'docs/schemas');

export function readSchema(name: string): object & { readonly properties: Readonly<Record<string, unknown>> } {
  return JSON.parse(readFileSync(join(schemas, name), 'utf8'));
}

export function validator(name: string) {
  const ajv = new Ajv2020({ allErrors: true });
  ajv.addSchema(readSchema('machine.json'));
  return ajv.compile(readSchema(`${name}.json`));
}

/** Runs a command; its whole stdout must be one JSON object that fits the schema. */
export async function run(schema: string, ...args: readonly string[]): Promise<Record<string, unknown>> {
  const command = [...program, ...args, '--json'];
  const { stdout } = await promisify(execFile)(process.execPath, command, { cwd: root });
  const result: unknown = JSON.parse(stdout);
  const validate = validator(schema);
  assert.ok(validate(result), JSON.stringify(validate.errors));
  return result as Record<string, unknown>;
}

export const runsOf = (result: Record<string, unknown>) => result.runs as readonly Record<string, unknown>[];
