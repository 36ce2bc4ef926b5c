/**
 * XGrammar (Apache-2.0) in WebAssembly, as its package brings it. What has to be known about version 0.1.27:
 * its file is CommonJS in a package that says it is a module, so it is run here as what it is; an error aborts the
 * instance, whose memory is then in an unknown state, and prints its text; nothing bounds its memory; and one of its
 * optimizations merges states that differ, which `soundEngine` keeps it from.
 */
import { readFileSync } from 'node:fs';
import * as url from 'node:url';
import type * as XGrammar from '@mlc-ai/web-xgrammar';
import { GRAMMAR_MEMORY_BYTES_MAX } from '../limits.js';

export type { CompiledGrammar, GrammarCompiler, GrammarMatcher } from '@mlc-ai/web-xgrammar';

/** The types of Node's own WebAssembly come with those of browsers, which aren't wanted here. */
type Memory = { readonly buffer: ArrayBuffer; grow(pages: number): number };

const PAGE_BYTES = 65_536;
const path = url.fileURLToPath(import.meta.resolve('@mlc-ai/web-xgrammar'));
let source: string | null = null;

/**
 * `MergeEquivalentSuccessors` (cpp/fsm.cc) unites states by two rules in one pass, so that one that is equal to
 * another by the first and to a third by the second makes these equal too: alternatives of different lengths then
 * accept texts that are none of them, as `exclusiveMinimum: 104361` accepted 81. It leaves automata alone that have
 * more than 100,000 states; that bound, the only such constant in the module, becomes none at all. The minimization
 * that comes next does the same work rightly.
 */
const MERGE_BOUND = Buffer.from('41819fc9004e0440', 'hex'); // i32.const 1200001 (bytes), i32.ge_s, if
const MERGE_NEVER = Buffer.from('41808080004e0440', 'hex'); // i32.const 0, …

function soundEngine(text: string): string {
  return text.replace(/(?<=data:application\/octet-stream;base64,)[A-Za-z0-9+/]+=*/, (encoded) => {
    const module = Buffer.from(encoded, 'base64');
    const at = module.indexOf(MERGE_BOUND);
    if (at < 0 || module.includes(MERGE_BOUND, at + 1)) throw new Error('this is not the grammar engine that is known');
    MERGE_NEVER.copy(module, at);
    return module.toString('base64');
  });
}

/** A new instance, with a memory of its own (20–60 ms). */
export function loadXGrammar(): typeof XGrammar {
  source ??= soundEngine(readFileSync(path, 'utf8').replace(/^\/\/# sourceMappingURL=.*$/m, ''));
  const module = { exports: {} };
  const require = (name: string): unknown => (name === 'url' ? url : undefined);
  new Function('exports', 'module', 'require', '__filename', source)(module.exports, module, require, path);
  return module.exports as typeof XGrammar;
}

/** From now on no WebAssembly memory of this thread grows past the bound: what needs more aborts its instance. */
export function boundMemory(): void {
  const { prototype } = (globalThis as unknown as { WebAssembly: { Memory: { prototype: Memory } } }).WebAssembly
    .Memory;
  const { grow } = prototype;
  prototype.grow = function (this: Memory, pages: number): number {
    if (this.buffer.byteLength + pages * PAGE_BYTES > GRAMMAR_MEMORY_BYTES_MAX) {
      throw new RangeError('the bound of the grammar engine is reached');
    }
    return grow.call(this, pages);
  };
}

/** Collects what the library prints, for the user and not the log. Takes effect on instances made later. */
export function captureOutput(): { take(): readonly string[] } {
  const lines: string[] = [];
  const keep = (...parts: unknown[]): void => {
    if (lines.length < 100) lines.push(parts.map(String).join(' '));
  };
  console.error = keep;
  console.warn = keep;
  console.log = keep;
  return { take: () => lines.splice(0) };
}

/** `[FATAL] file:line: EBNF parser error at …` → the last part. */
export function fatalMessage(lines: readonly string[]): string {
  const fatal = lines.find((line) => line.startsWith('[FATAL]'));
  return fatal?.replace(/^\[FATAL\]\s+\S+:\d+:\s*/, '').slice(0, 300) ?? 'it could not be read';
}
