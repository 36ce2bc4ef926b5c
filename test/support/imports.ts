/** What source files import, read from their text: enough for rules about folders, no compiler needed. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

export type Import = {
  /** Path in the repository. */
  readonly from: string;
  /** Path in the repository for our own files, otherwise the name as written, such as `fastify` or `napi.h`. */
  readonly to: string;
  readonly isOwn: boolean;
  /** Erased by the compiler: only types are used. */
  readonly isTypeOnly: boolean;
};

/** Files that git knows and that exist, in order; `patterns` as git has them, where `*` crosses folders. */
export function trackedFiles(...patterns: readonly string[]): readonly string[] {
  const list = execFileSync('git', ['ls-files', '-z', '--', ...patterns], { cwd: root, encoding: 'utf8' });
  return list.split('\0').filter((name) => name !== '' && existsSync(join(root, name)));
}

export function readSource(file: string): string {
  return readFileSync(join(root, file), 'utf8');
}

const staticImport = /^(?:import|export)\s+(type\s)?\s*(?:([^'";]*?)\s*from\s*)?'([^']+)'/gm;
const dynamicImport = /\bimport\('([^']+)'\)/g;

/** `{ type A, type B }` imports nothing at run time. */
function onlyTypes(clause: string): boolean {
  const names = /^\{([^}]*)\}$/s.exec(clause.trim())?.[1]?.split(',') ?? [];
  const written = names.map((name) => name.trim()).filter((name) => name !== '');
  return written.length > 0 && written.every((name) => name.startsWith('type '));
}

/** Imports of a TypeScript text that stands at `file`. Those in the text of comments count too: don't write them. */
export function typescriptImports(file: string, text: string): readonly Import[] {
  const at = (target: string, isTypeOnly: boolean): Import => {
    const isOwn = target.startsWith('.');
    const to = isOwn ? normalize(join(dirname(file), target)).replace(/\.js$/, '.ts') : target;
    return { from: file, to, isOwn, isTypeOnly };
  };
  const fixed = [...text.matchAll(staticImport)].map(([, type, clause, target]) =>
    at(target ?? '', type !== undefined || onlyTypes(clause ?? '')),
  );
  return [...fixed, ...[...text.matchAll(dynamicImport)].map(([, target]) => at(target ?? '', false))];
}

/** Includes of a C++ text that stands at `file`. */
export function cppIncludes(file: string, text: string): readonly Import[] {
  return [...text.matchAll(/^\s*#\s*include\s+(["<])([^">]+)[">]/gm)].map(([, bracket, target]) => {
    const isOwn = bracket === '"';
    const to = isOwn ? normalize(join(dirname(file), target ?? '')) : (target ?? '');
    return { from: file, to, isOwn, isTypeOnly: false };
  });
}

/** A chain of files that leads back to its start, or null. */
export function findCycle(imports: readonly Import[]): readonly string[] | null {
  const targets = new Map<string, string[]>();
  for (const { from, to } of imports) targets.set(from, [...(targets.get(from) ?? []), to]);
  const finished = new Set<string>();
  const visit = (file: string, path: readonly string[]): readonly string[] | null => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (finished.has(file)) return null;
    for (const target of targets.get(file) ?? []) {
      const cycle = visit(target, [...path, file]);
      if (cycle !== null) return cycle;
    }
    finished.add(file);
    return null;
  };
  for (const file of targets.keys()) {
    const cycle = visit(file, []);
    if (cycle !== null) return cycle;
  }
  return null;
}
