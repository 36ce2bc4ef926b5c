/** `nibble bench constrained`: what a constraint costs the sequence that has it, and those beside it. */
import type { Command } from 'commander';
import { loadConfig } from '../../config.js';
import { greedy } from '../../engine/greedy.js';
import type { OpenedModel } from '../../engine/open-types.js';
import type { GenerationRequest } from '../../engine/types.js';
import { NibbleError } from '../../errors.js';
import { loadAddon } from '../../native/load.js';
import { openOptions } from '../open-options.js';
import { machineOf, printJsonResult, writeStdout } from '../output.js';
import { addSettingOptions } from '../settings.js';
import { integerIn, integersIn } from './arguments.js';
import { benchSettings } from './engine.js';
import { nativeCall } from './native-call.js';
import { createProgress } from './progress.js';
import { median, rounded, significant, spread } from './statistics.js';
import { formatTable, percent } from './table.js';

type ConstrainedFlags = Readonly<Record<string, unknown>> & {
  readonly generate: number;
  readonly batch: readonly number[];
  readonly rounds: number;
  readonly json?: boolean;
};

type Constraint = NonNullable<GenerationRequest['constraint']>;

/** Constraints whose texts are long enough: they must not end before the last token that is timed. */
const constraints: Readonly<Record<'schema' | 'regex' | 'free', Constraint | null>> = {
  schema: {
    kind: 'json_schema',
    schema: JSON.stringify({
      type: 'array',
      minItems: 500,
      items: {
        type: 'object',
        properties: {
          name: { type: 'string', maxLength: 24 },
          age: { type: 'integer', minimum: 0, maximum: 120 },
          tags: { type: 'array', items: { enum: ['new', 'paid', 'late'] }, maxItems: 3 },
          address: {
            type: 'object',
            properties: { city: { type: 'string' }, zip: { type: 'string', pattern: '^\\d{5}$' } },
          },
        },
        required: ['name', 'age', 'tags', 'address'],
      },
    }),
  },
  regex: { kind: 'regex', pattern: '(?:[A-Z][a-z]+ [a-z]{2,9}[,.] )+' },
  free: null,
};
type Kind = keyof typeof constraints;

const PROMPT = 'A list of customers, with all that is known of them, as JSON:\n';

/** Milliseconds a token of the first sequence, and the mean of those beside it, which are free; NaN without any. */
type Times = { readonly own: number; readonly beside: number };

async function msPerToken(generation: ReturnType<OpenedModel['engine']['submit']>[number], tokens: number) {
  let first = Number.NaN;
  for await (const event of generation) {
    if (event.kind === 'text' && Number.isNaN(first)) first = performance.now();
    if (event.kind !== 'end' || event.completionTokens === tokens) continue;
    throw new NibbleError('bench_failed', {
      message: `a text ended after ${event.completionTokens} of ${tokens} tokens`,
    });
  }
  return (performance.now() - first) / (tokens - 1);
}

/** One run: `batch` sequences start together, the first with the constraint. */
async function runOnce({ engine, tokenizer }: OpenedModel, kind: Kind, batch: number, tokens: number): Promise<Times> {
  const promptIds = tokenizer.encode(PROMPT, { addSpecialTokens: true, parseSpecial: false });
  const request = (choice: number): GenerationRequest => ({
    promptIds,
    maxTokens: tokens,
    sampling: { ...sampling, choice },
    stop: [],
    logprobs: null,
    scorePrompt: false,
    ignoreEos: true,
    ...(choice === 0 && constraints[kind] !== null ? { constraint: constraints[kind] } : {}),
  });
  const generations = engine.submit(
    Array.from({ length: batch }, (_, choice) => request(choice)),
    new AbortController().signal,
  );
  const [own = Number.NaN, ...beside] = await Promise.all(generations.map((one) => msPerToken(one, tokens)));
  return { own, beside: beside.reduce((sum, ms) => sum + ms, 0) / beside.length };
}

const sampling = { ...greedy, temperature: 1, seed: 1n };

type Constrained = Exclude<Kind, 'free'>;
const kinds: readonly Constrained[] = ['schema', 'regex'];

/** A constrained run between two free ones: what drifts slowly is the same on both sides. */
type Pair = { readonly free: Times; readonly constrained: Times };

const middle = (a: Times, b: Times): Times => ({ own: (a.own + b.own) / 2, beside: (a.beside + b.beside) / 2 });

async function measure(opened: OpenedModel, batch: number, flags: ConstrainedFlags) {
  const run = (kind: Kind) => runOnce(opened, kind, batch, flags.generate);
  const pairs: Record<Constrained, Pair[]> = { schema: [], regex: [] };
  const progress = createProgress();
  progress.start(`batch ${batch}`, flags.rounds + 1);
  for (const kind of kinds) await run(kind); // warms up
  let before = await run('free');
  for (let round = 0; round < flags.rounds; round++) {
    progress.update(round + 1);
    for (const kind of kinds) {
      const constrained = await run(kind);
      const after = await run('free');
      pairs[kind].push({ free: middle(before, after), constrained });
      before = after;
    }
  }
  progress.stop();
  return kinds.map((kind) => describe(kind, batch, pairs[kind]));
}

function describe(constraint: Constrained, batch: number, pairs: readonly Pair[]) {
  const ms = (read: (pair: Pair) => number) => significant(median(pairs.map(read)));
  return {
    batch,
    constraint,
    freeMs: ms(({ free }) => free.own),
    constrainedMs: ms(({ constrained }) => constrained.own),
    /** Within each pair. */
    costShare: rounded(spread(pairs.map(({ free, constrained }) => constrained.own / free.own - 1)), 3),
    besideFreeMs: batch === 1 ? null : ms(({ free }) => free.beside),
    besideConstrainedMs: batch === 1 ? null : ms(({ constrained }) => constrained.beside),
  };
}

/** Time until a constraint can be used, ms: the thread's start, then compiling each. */
async function compileTimes({ engine }: OpenedModel) {
  const time = async (constraint: Constraint): Promise<number> => {
    const begin = performance.now();
    await engine.checkConstraint(constraint);
    return significant(performance.now() - begin);
  };
  const { schema, regex } = constraints;
  if (schema === null || regex === null) throw new RangeError('free texts are not compiled');
  const startMs = await time({ kind: 'choice', choices: ['yes'] });
  return { startMs, schemaCompileMs: await time(schema), regexCompileMs: await time(regex) };
}

async function constrained(flags: ConstrainedFlags): Promise<void> {
  const config = loadConfig(flags, process.env);
  const { openModel } = await import('../../engine/open.js');
  const most = Math.max(...flags.batch);
  const contextTokens = flags.generate + 256;
  const opened = await openModel({
    ...openOptions(config),
    contextTokens,
    kvTokens: contextTokens * most,
    maxSequences: most,
  });
  try {
    const compile = await nativeCall(() => compileTimes(opened));
    const runs: Awaited<ReturnType<typeof measure>>[number][] = [];
    for (const batch of flags.batch) runs.push(...(await nativeCall(() => measure(opened, batch, flags))));
    const { level, threads } = opened.nativeModel.info;
    if (flags.json === true) {
      const machine = machineOf(loadAddon().cpuInfo(), { isa: level, threads });
      const head = { machine, model: opened.modelFile.id };
      return await printJsonResult(head, { generatedTokens: flags.generate, rounds: flags.rounds, ...compile, runs });
    }
    const cell = (ms: number | null) => (ms === null ? '–' : String(ms));
    const rows = runs.map((run) => [
      run.batch,
      run.constraint,
      run.freeMs,
      run.constrainedMs,
      percent(run.costShare.median),
      `${percent(run.costShare.min)} to ${percent(run.costShare.max)}`,
      cell(run.besideFreeMs),
      cell(run.besideConstrainedMs),
    ]);
    const heads = [
      'batch',
      'constraint',
      'free, ms a token',
      'constrained',
      'cost',
      'range',
      'beside a free one',
      'beside it',
    ];
    await writeStdout(formatTable(heads, rows));
    const { startMs, schemaCompileMs, regexCompileMs } = compile;
    await writeStdout(`\nthread ${startMs} ms, schema ${schemaCompileMs} ms, regex ${regexCompileMs} ms to compile\n`);
  } finally {
    await opened.close();
  }
}

export function registerConstrained(bench: Command): void {
  const command = bench
    .command('constrained')
    .description('Measure what a constraint costs a sequence, and others in its batch.')
    .option('-n, --generate <tokens>', 'tokens of each sequence', integerIn(16, 1000), 160)
    .option('--batch <counts>', 'sequences at once, one of them constrained', integersIn(1, 64), [1, 4])
    .option('--rounds <count>', 'rounds; medians are reported', integerIn(1, 100), 11)
    .option('--json', 'print one JSON object');
  addSettingOptions(command, benchSettings).action(constrained);
}
