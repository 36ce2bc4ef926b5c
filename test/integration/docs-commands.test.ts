/** Every `nibble …` in a shell block of the pages is a command that exists, with options that it has. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { readSource, root, trackedFiles } from '../support/imports.js';
import { codeBlocks } from '../support/markdown.js';
import { program } from '../support/program.js';

const run = promisify(execFile);

type Use = { readonly page: string; readonly line: string; readonly words: readonly string[] };

/** The words behind each `nibble` that stands where a command does, up to the end of that command. */
function usesIn(page: string, block: string): readonly Use[] {
  const lines = block
    .replaceAll(/\\\n\s*/g, ' ')
    .replaceAll(/(^|\s)#.*$/gm, '')
    .split('\n');
  return lines.flatMap((line) =>
    line.split(/&&|\|\||[|;]/).flatMap((command) => {
      const match = /^\s*(?:[A-Z_]+=\S*\s+)*(?:taskset \S+ \S+ )?(?:npx )?(?:\S*\/)?nibble(?:\s+(.*))?$/.exec(command);
      const words = (match?.[1] ?? '').replaceAll(/"[^"]*"|'[^']*'/g, 'text').split(/\s+/);
      return match === null ? [] : [{ page, line: line.trim(), words: words.filter((word) => word !== '') }];
    }),
  );
}

const uses = trackedFiles('*.md').flatMap((page) =>
  codeBlocks(readSource(page), 'sh').flatMap((block) => usesIn(page, block)),
);

const helps = new Map<string, Promise<string>>();
/** What `--help` of a command prints. */
function helpOf(path: readonly string[]): Promise<string> {
  const key = path.join(' ');
  const known = helps.get(key) ?? run(process.execPath, [...program, ...path, '--help'], { cwd: root }).then(stdoutOf);
  helps.set(key, known);
  return known;
}
const stdoutOf = ({ stdout }: { readonly stdout: string }): string => stdout;

const commandsIn = (help: string): readonly string[] =>
  [...(help.split('\nCommands:\n')[1] ?? '').matchAll(/^ {2}(\w[\w-]*)/gm)].map(([, name]) => name ?? '');
const optionsIn = (help: string): readonly string[] =>
  [...help.matchAll(/^ {2}(?:(-\w), )?(--[\w-]+)/gm)].flatMap(([, short, long]) => [short ?? '', long ?? '']);

/** What is wrong with a line; null if nothing is. */
async function mistakeIn({ words }: Use): Promise<string | null> {
  const path: string[] = [];
  let help = await helpOf([]);
  for (const word of words) {
    const commands = commandsIn(help);
    if (commands.length === 0 || word.startsWith('-')) break;
    if (!commands.includes(word)) return `no command ${[...path, word].join(' ')}`;
    path.push(word);
    help = await helpOf(path);
  }
  const known = optionsIn(help);
  const options = words.filter((word) => /^--?[a-z]/.test(word)).map((word) => word.replace(/=.*$/, ''));
  const unknown = options.filter((option) => !known.includes(option));
  return unknown.length === 0 ? null : `${path.join(' ')} has no ${unknown.join(', ')}`;
}

test('commands are found in blocks, and mistakes in commands', async () => {
  const found = usesIn(
    'p',
    'A=1 npx nibble serve --port 1 \\\n  --nice 2 # nibble no\n./x/nibble top | nibble bench peers\n',
  );
  assert.deepEqual(
    found.map(({ words }) => words.join(' ')),
    ['serve --port 1 --nice 2', 'top', 'bench peers'],
  );
  const mistake = (words: string) => mistakeIn({ page: '', line: '', words: words.split(' ') });
  assert.equal(await mistake('serve --no-such-thing 3'), 'serve has no --no-such-thing');
  assert.equal(await mistake('bench nothing'), 'no command bench nothing');
  assert.equal(await mistake('top --once'), null);
});

test('every command of the pages exists, with its options', async () => {
  assert.ok(uses.length > 30);
  const mistakes: string[] = [];
  for (const use of uses) {
    const mistake = await mistakeIn(use);
    if (mistake !== null) mistakes.push(`${use.page}: ${use.line}: ${mistake}`);
  }
  assert.deepEqual(mistakes, []);
});
