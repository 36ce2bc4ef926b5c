#!/usr/bin/env node
import { CommanderError } from 'commander';
import { NibbleError } from '../errors.js';
import { printable } from './printable.js';
import { createProgram } from './program.js';

/** Says on stderr what went wrong, as `nibble: code: message`; returns the exit code: 2 for usage, else 1. */
function reportError(error: unknown): number {
  // Commander has already written its message; showing help or the version isn't an error.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof NibbleError) {
    process.stderr.write(`nibble: ${error.code}: ${printable(error.message)}\n`);
    return error.code === 'config_invalid' ? 2 : 1;
  }
  process.stderr.write(
    `nibble: internal: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  return 1;
}

// A reader that goes away (`nibble generate … | head`) is no error: there is just nobody left to write for.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

try {
  await createProgram().parseAsync();
} catch (error) {
  // A server that failed to load may still listen; nothing that could keep the process alive is wanted now.
  process.exit(reportError(error));
}
