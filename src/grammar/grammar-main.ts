/** The grammar's thread: compiles constraints and finds, after each token, which ones may follow. */
import { readlinkSync } from 'node:fs';
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { GRAMMARS_CACHED_MAX } from '../limits.js';
import { bytesOfToken, CONTROL, UNKNOWN } from '../model/tokenizer/vocabulary.js';
import { unpackMetadata } from '../model/tokenizer/worker-messages.js';
import { settleMask } from './masks.js';
import {
  AT_MATCHER,
  type GrammarAnswer,
  type GrammarRequest,
  type GrammarThreadData,
  PROGRESS,
  SIGNAL,
} from './messages.js';
import { endMasks, tokenAt, writeMask } from './shared-mask.js';
import { grammarOf } from './source.js';
import { type Constraint, ConstraintError } from './types.js';
import { Utf8Masks } from './utf8.js';
import {
  boundMemory,
  type CompiledGrammar,
  captureOutput,
  fatalMessage,
  type GrammarCompiler,
  type GrammarMatcher,
  loadXGrammar,
} from './xgrammar.js';

const UNUSED = 5;

type Matching = {
  readonly id: number;
  readonly matcher: GrammarMatcher;
  readonly endsFrom: number;
  readonly mask: Int32Array;
  position: number;
  utf8: number;
};

const { metadata: packed, endIds, vocabSize, control } = workerData as GrammarThreadData;
const printed = captureOutput();
boundMemory();
const engine = loadXGrammar();
const vocabulary = readVocabulary();
const utf8 = new Utf8Masks(vocabulary);
const matchers = new Map<number, Matching>();
/** By the constraint's JSON; the last used ones last. */
const compiled = new Map<string, CompiledGrammar>();
/** Reads grammars only: what it aborts on doesn't touch the texts that are being generated. */
let reader: typeof engine | null = null;

/** The bytes of every token; control tokens, which aren't text, are empty: the engine allows none of these. */
function readVocabulary(): readonly Uint8Array[] {
  const metadata = unpackMetadata(packed);
  const hidden: ReadonlySet<number> = new Set([CONTROL, UNKNOWN, UNUSED]);
  const ends = new Set(endIds);
  return Array.from({ length: vocabSize }, (_, id) =>
    id >= metadata.tokens.length || ends.has(id) || hidden.has(metadata.tokenTypes[id] ?? UNUSED)
      ? new Uint8Array()
      : new Uint8Array(bytesOfToken(metadata, id)),
  );
}

async function createCompiler(vocabulary: readonly Uint8Array[]): Promise<GrammarCompiler> {
  // The binding takes bytes where its types say strings; strings would become UTF-8.
  const tokens = vocabulary as unknown as string[];
  const info = await engine.TokenizerInfo.createTokenizerInfo(tokens, 'raw', false, vocabSize, [...endIds]);
  return engine.GrammarCompiler.createGrammarCompiler(info, false);
}

async function checkGrammar(text: string): Promise<void> {
  reader ??= loadXGrammar();
  printed.take();
  try {
    (await reader.Grammar.fromEBNF(text)).dispose();
  } catch {
    reader = null;
    throw new ConstraintError(`The grammar can't be read: ${fatalMessage(printed.take())}`);
  }
}

async function compile(compiler: GrammarCompiler, constraint: Constraint): Promise<CompiledGrammar> {
  const key = JSON.stringify(constraint);
  const known = compiled.get(key);
  if (known !== undefined) {
    compiled.delete(key);
    compiled.set(key, known);
    return known;
  }
  const text = grammarOf(constraint);
  await checkGrammar(text);
  const grammar = await engine.Grammar.fromEBNF(text);
  const result = await compiler.compileGrammar(grammar);
  grammar.dispose();
  compiled.set(key, result);
  const [oldest] = compiled;
  if (compiled.size > GRAMMARS_CACHED_MAX && oldest !== undefined) {
    // Matchers at work keep what they need of it.
    oldest[1].dispose();
    compiled.delete(oldest[0]);
  }
  return result;
}

function say(answer: GrammarAnswer): void {
  parentPort?.postMessage(answer);
}

function end(matching: Matching, message: string | null): void {
  endMasks(matching.mask);
  say({ kind: 'ended', matcher: matching.id, message });
}

/** Writes what may follow. */
async function next(matching: Matching): Promise<void> {
  const { matcher, position, endsFrom } = matching;
  if (matcher.isTerminated()) return end(matching, null);
  const mask = await matcher.getNextTokenBitmask();
  utf8.restrict(mask, matching.utf8);
  switch (settleMask(mask, vocabSize, endIds, position >= endsFrom, matcher.isTerminated())) {
    case 'continue':
      return writeMask(matching.mask, position, mask);
    case 'finished':
      return end(matching, null);
    default:
      return end(matching, 'No token of this model can continue the text as the constraint wants it.');
  }
}

function accept(matching: Matching, token: number): void {
  if (!matching.matcher.acceptToken(token)) throw new Error(`token ${token} was sampled against the mask`);
  matching.position++;
  matching.utf8 = utf8.after(matching.utf8, token);
}

/** Goes on with a text whose next token is known. Returns whether there was one. */
async function advance(matching: Matching): Promise<boolean> {
  const token = tokenAt(matching.mask, matching.position);
  if (token === null) return false;
  Atomics.store(control, AT_MATCHER, matching.id);
  accept(matching, token);
  await next(matching);
  Atomics.store(control, AT_MATCHER, 0);
  Atomics.add(control, PROGRESS, 1);
  return true;
}

async function open(compiler: GrammarCompiler, request: Extract<GrammarRequest, { kind: 'open' }>): Promise<void> {
  const { matcher: id, endsFrom, tokens, mask } = request;
  const grammar = await compile(compiler, request.constraint);
  const matcher = await engine.GrammarMatcher.createGrammarMatcher(grammar);
  const matching: Matching = { id, matcher, endsFrom, mask, position: 0, utf8: 0 };
  matchers.set(id, matching);
  for (const token of tokens) accept(matching, token);
  await next(matching);
}

async function carryOut(
  compiler: GrammarCompiler,
  request: Exclude<GrammarRequest, { kind: 'close' }>,
): Promise<GrammarAnswer> {
  switch (request.kind) {
    case 'compile':
      await compile(compiler, request.constraint);
      break;
    case 'open':
      await open(compiler, request);
      break;
    case 'ask': {
      const matching = matchers.get(request.matcher);
      if (matching !== undefined) await advance(matching);
      break;
    }
    default:
      return request satisfies never;
  }
  return { kind: 'done' };
}

function close(id: number): void {
  matchers.get(id)?.matcher.dispose();
  matchers.delete(id);
}

/** Anything but a refusal may have broken the engine: it ends the thread, and the other side starts another. */
async function serve(compiler: GrammarCompiler, request: GrammarRequest): Promise<void> {
  if (request.kind === 'close') return close(request.matcher);
  try {
    say(await carryOut(compiler, request));
  } catch (error) {
    if (!(error instanceof ConstraintError)) throw error;
    say({ kind: 'refused', message: error.message, isTooComplex: error.isTooComplex });
  }
  Atomics.add(control, PROGRESS, 1);
}

/** Tokens first: steps wait for their masks. Returns whether there was anything to do. */
async function work(compiler: GrammarCompiler): Promise<boolean> {
  let isBusy = false;
  for (const matching of matchers.values()) isBusy = (await advance(matching)) || isBusy;
  const received = parentPort === null ? undefined : receiveMessageOnPort(parentPort);
  if (received === undefined) return isBusy;
  await serve(compiler, received.message as GrammarRequest);
  return true;
}

function cpuFile(): string | null {
  try {
    return `/proc/${readlinkSync('/proc/thread-self')}/schedstat`;
  } catch {
    return null;
  }
}

const compiler = await createCompiler(vocabulary);
say({ kind: 'ready', cpuFile: cpuFile() });
// Between tokens it sleeps on the signal and not in an event loop, which takes many times as long to wake.
for (;;) {
  const seen = Atomics.load(control, SIGNAL);
  if (!(await work(compiler))) Atomics.wait(control, SIGNAL, seen);
}
