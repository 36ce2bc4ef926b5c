/** Uses of `nibble` in shell text, and what is wrong with them by the program's own table of commands. */
import type { Command } from 'commander';
import { createProgram } from '../../src/cli/program.js';

/** The words behind each `nibble` that stands where a command does, up to the end of that command. */
export function usesOfNibble(text: string): readonly (readonly string[])[] {
  const lines = text
    .replaceAll(/\\\n\s*/g, ' ')
    .replaceAll(/(^|\s)#.*$/gm, '')
    .replaceAll(/^\w+=\$\((.*)\)$/gm, '$1')
    .split('\n');
  return lines.flatMap((line) =>
    line.split(/&&|\|\||[|;]/).flatMap((command) => {
      const match = /^\s*(?:[A-Z_]+=\S*\s+)*(?:taskset \S+ \S+ )?(?:npx )?(?:\S*\/)?nibble(?:\s+(.*))?$/.exec(command);
      const words = (match?.[1] ?? '').replaceAll(/"[^"]*"|'[^']*'/g, 'text').split(/\s+/);
      return match === null ? [] : [words.filter((word) => word !== '')];
    }),
  );
}

const program = createProgram();

/** What is wrong with these words behind `nibble`; null if nothing is. */
export function mistakeIn(words: readonly string[]): string | null {
  const path: string[] = [];
  let command: Command = program;
  for (const word of words) {
    if (command.commands.length === 0 || word.startsWith('-')) break;
    const next = command.commands.find((one) => one.name() === word);
    if (next === undefined) return `no command ${[...path, word].join(' ')}`;
    path.push(word);
    command = next;
  }
  const known = new Set(command.options.flatMap(({ short, long }) => [short, long]));
  const options = words.filter((word) => /^--?[a-z]/.test(word)).map((word) => word.replace(/=.*$/, ''));
  const unknown = options.filter((option) => !known.has(option) && !['--help', '--version'].includes(option));
  return unknown.length === 0 ? null : `${path.join(' ')} has no ${unknown.join(', ')}`;
}
