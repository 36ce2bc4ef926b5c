import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { describeSetting, settingKeys } from '../../src/config.js';
import { program } from '../support/program.js';

function nibble(...args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  const env = { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '' };
  return spawnSync(process.execPath, [...program, ...args], { encoding: 'utf8', env });
}

test('--help lists the commands, --version is the package version', () => {
  const help = nibble('--help');
  assert.equal(help.status, 0);
  for (const command of ['serve', 'generate', 'pull']) assert.match(help.stdout, new RegExp(`^  ${command} `, 'm'));
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  assert.equal(nibble('--version').stdout, `${manifest.version}\n`);
});

test('serve --help shows every setting with its variable', () => {
  const { status, stdout } = nibble('serve', '--help');
  assert.equal(status, 0);
  for (const { flag, env } of settingKeys.map(describeSetting)) {
    assert.ok(stdout.includes(`${flag} `), flag);
    assert.ok(stdout.includes(env), env);
  }
});

test('--ctx-size is another name of --context-tokens; the later of the two counts', () => {
  const message = (value: string) =>
    `nibble: config_invalid: contextTokens: must be an integer from 16 to 131072, or "auto" (from ${value})\n`;
  const failing = nibble('serve', '--ctx-size', '3');
  assert.deepEqual([failing.status, failing.stderr], [2, message('--context-tokens')]);
  const both = nibble('serve', '--ctx-size', '3', '--context-tokens', '64', '--port', '70000');
  assert.match(both.stderr, /config_invalid: port/);
});

test('wrong usage is one line on stderr and exit code 2', () => {
  for (const [args, message] of [
    [['frobnicate'], /^nibble: usage: unknown command 'frobnicate'\n$/],
    [['serv'], /^nibble: usage: unknown command 'serv' \(Did you mean serve\?\)\n$/],
    [['serve', '--bogus'], /^nibble: usage: unknown option '--bogus'\n$/],
    [['generate'], /^nibble: usage: missing required argument 'prompt'\n$/],
    [['generate', '--temperature', '3', 'x'], /^nibble: usage: .*number from 0 to 2/],
    [['generate', '--seed', '18446744073709551616', 'x'], /^nibble: usage: .*2\^64/],
    [
      ['serve', '--port', '70000'],
      /^nibble: config_invalid: port: must be an integer from 0 to 65535 \(from --port\)\n$/,
    ],
  ] as const) {
    const { status, stdout, stderr } = nibble(...args);
    assert.deepEqual([status, stdout], [2, ''], args.join(' '));
    assert.match(stderr, message);
  }
});

test('other errors are one coded line on stderr and exit code 1', () => {
  const { status, stdout, stderr } = nibble('generate', '');
  assert.deepEqual([status, stdout], [1, '']);
  assert.match(stderr, /^nibble: invalid_request: the prompt must have 1 to \d+ bytes\n$/);
});
