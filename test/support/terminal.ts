/** A terminal for the shell blocks of a page: a folder with the files that they name, and `nibble` at hand. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from './fleet.js';
import { root } from './imports.js';
import { program } from './program.js';

/** `nibble serve` returns when the server is ready, so that the next line of a page can ask it. */
const nibble = `#!/bin/bash
run() { ${[process.execPath, ...program].map((word) => `'${word}'`).join(' ')} "$@"; }
[ "$*" != top ] || set -- top --url "http://127.0.0.1:$NIBBLE_PORT"
[ "$*" != pull ] || set -- pull "$NIBBLE_MODEL"
if [ "$1" != serve ]; then run "$@"; exit; fi
run "$@" > "$PAGE_SERVER_LOG" 2>&1 &
until grep -q 'ready on' "$PAGE_SERVER_LOG"; do
  kill -0 $! 2> /dev/null || { cat "$PAGE_SERVER_LOG"; exit 1; }
  sleep 0.05
done
`;
/** Nothing that these could fetch is wanted in a test. */
const npx = '#!/bin/bash\n[ "$1" = nibble ] || { echo "npx $1: not here"; exit 1; }\nshift; exec nibble "$@"\n';
const npm = '#!/bin/bash\n[ "$1" = start ] || { echo "npm $1: not here"; exit 1; }\nshift; exec nibble serve "$@"\n';

/** Parts of the repository that pages name. */
const linked = ['tools', 'docker', 'docs', 'test', 'src', 'node_modules', 'package.json', 'tsconfig.json'].concat([
  'README.md',
  'CONTRIBUTING.md',
  'ARCHITECTURE.md',
]);

/** A folder in which pages are read: `files` by their names, and the commands. */
export function prepareFolder(folder: string, files: Readonly<Record<string, string>>): void {
  for (const name of linked) symlinkSync(join(root, name), join(folder, name));
  for (const [name, target] of Object.entries(files)) symlinkSync(target, join(folder, name));
  mkdirSync(join(folder, 'bin'));
  for (const [name, text] of Object.entries({ nibble, npx, npm })) {
    writeFileSync(join(folder, 'bin', name), text);
    chmodSync(join(folder, 'bin', name), 0o755);
  }
}

/** The slowest page of the nightly run takes minutes. */
const pageMsMax = 10 * 60_000;

export type Typed = {
  readonly ok: boolean;
  /** What all blocks printed, of both streams; the last lines tell what went wrong. */
  readonly output: string;
};

/** Types blocks into one shell, one after the other; the first command that fails ends it. */
export async function typeBlocks(
  folder: string,
  blocks: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<Typed> {
  const ports = [await freePort(), await freePort()];
  const script = blocks
    .map((text, i) => `echo '## block ${i + 1}'\n${text}`)
    .join('\n')
    .replaceAll(/\b8080\b/g, String(ports[0]))
    .replaceAll(/\b8081\b/g, String(ports[1]));
  const own = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('NIBBLE_')));
  const child = spawn('bash', ['-euo', 'pipefail', '-c', script], {
    cwd: folder,
    env: {
      ...own,
      NIBBLE_PORT: String(ports[0]),
      NIBBLE_OFFLINE: '1',
      PATH: `${join(folder, 'bin')}:${process.env.PATH}`,
      PAGE_SERVER_LOG: join(folder, 'server.log'),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (bytes) => {
      output += String(bytes);
    });
  }
  const late = setTimeout(() => endGroup(child.pid), pageMsMax);
  const [code] = await once(child, 'exit');
  clearTimeout(late);
  endGroup(child.pid);
  return { ok: code === 0, output };
}

/** The servers that a shell started are in its group of processes; there may be none. */
function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
