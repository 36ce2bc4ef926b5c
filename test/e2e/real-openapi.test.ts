/**
 * schemathesis reads /openapi.json and sends the live server requests that fit it and such that don't. It checks
 * statuses, media types, headers and bodies of the answers against the document. `NIBBLE_API_CASES` asks for more.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ensurePythonEnv } from '../support/python.js';
import { outcome, RealServer } from '../support/real-server.js';

const cases = Number(process.env.NIBBLE_API_CASES ?? 500);
const seed = Number(process.env.NIBBLE_SEED ?? 1);
/** Operations whose number of cases has no bound: six with a body that matters, a model by its id, and the costs. */
const OPEN_OPERATIONS = 8;

/**
 * All but `positive_data_acceptance`: rules that join several fields, or depend on the model (token ids, the context,
 * what its template accepts), aren't part of a JSON schema.
 */
const checks = [
  ...['not_a_server_error', 'status_code_conformance', 'content_type_conformance', 'response_headers_conformance'],
  ...['response_schema_conformance', 'negative_data_rejection', 'unsupported_method', 'allow_header_conformance'],
];

/** The first tries every constraint of every field by itself: a thousand cases and more. */
const phases = cases >= 1000 ? 'coverage,fuzzing' : 'fuzzing';

const folder = mkdtempSync(join(tmpdir(), 'nibble-openapi-'));
let server: RealServer;
before(async () => {
  const ledger = ['--ledger', join(folder, 'ledger.db')];
  server = await RealServer.start({ flags: ['--kv-tokens', '4096', '--context-tokens', '256', ...ledger] });
});
after(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

test(`the server keeps what /openapi.json promises in ${cases} cases (seed ${seed})`, async () => {
  const python = await ensurePythonEnv('requirements-clients');
  const hooks = fileURLToPath(new URL('../../tools/reference', import.meta.url));
  const args = ['-m', 'schemathesis.cli', 'run', `${server.url}/openapi.json`, '--seed', String(seed)];
  args.push(
    '--checks',
    checks.join(','),
    '--phases',
    phases,
    '--continue-on-failure',
    '--no-color',
    '--request-timeout',
    '60',
  );
  args.push('--max-examples', String(Math.ceil(cases / OPEN_OPERATIONS)));
  const child = spawn(python, args, {
    cwd: folder, // where it keeps what it found
    env: { ...process.env, SCHEMATHESIS_HOOKS: 'schemathesis_hooks', PYTHONPATH: hooks, PYTHONDONTWRITEBYTECODE: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const { code, stdout, stderr } = await outcome(child);
  assert.equal(code, 0, `${stdout}\n${stderr}`);
  const generated = Number(/(\d+) generated/.exec(stdout)?.[1]);
  assert.ok(generated >= cases, stdout);
  await server.becomeIdle();
  const { choices } = await server.complete({ prompt: 'The capital of France is', max_tokens: 2, temperature: 0 });
  assert.match(choices[0]?.text ?? '', /Paris/);
});
