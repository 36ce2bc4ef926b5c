import { namedRecipes } from '../../../quant/named-recipes.js';
import type { Column, Section, Table } from './types.js';

/** How much is measured. */
export type Amount = {
  /** Text that quality is judged by; null: quality is left out. */
  readonly data: string | null;
  /** Few rounds and small loads: figures that say only that everything works. */
  readonly isQuick: boolean;
  /** Another instruction-set level that this machine has, as most machines do; null: none. */
  readonly otherIsa: string | null;
};

const speeds: readonly Column[] = [
  ['prefill tokens/s', 'prefillTokensPerS'],
  ['of the roofline', 'prefillRooflineShare', '%'],
  ['decode tokens/s', 'decodeTokensPerS'],
  ['of the roofline', 'decodeRooflineShare', '%'],
];
const engineTable: Table = {
  rows: 'runs',
  columns: [['sequences', 'batch'], ['tokens before', 'context'], ...speeds],
};
const peersTable: Table = {
  rows: 'runs',
  columns: [
    ['peer', 'peer'],
    ['sequences', 'sequences'],
    ['prefill, ours ÷ theirs', 'ratio.prefill'],
    ['decode, ours ÷ theirs', 'ratio.decode'],
    ['ours prefill', 'ours.prefillTokensPerS'],
    ['ours decode', 'ours.decodeTokensPerS'],
    ['theirs prefill', 'theirs.prefillTokensPerS'],
    ['theirs decode', 'theirs.decodeTokensPerS'],
  ],
};

const engineAbout =
  'The native engine alone, fed as the server feeds it. The roofline is that of the same moment: read bandwidth and the ' +
  'rate of the level’s own multiply instruction.';
const longAbout = 'A prompt of 8,000 tokens, and the decode behind it.';
const peersAbout = 'The same file, tokens and threads, in alternation; medians and ranges of the rounds.';
const batchAbout = 'Short prompts, long answers: how decoding gains from company.';

/** What is measured of one instruction-set level. */
function speedSections({ isQuick }: Amount, isa?: string): readonly Section[] {
  const reps = isQuick ? ['--reps', '3', '--ms', '5'] : ['--reps', '5'];
  const short = isQuick ? ['-p', '32', '-n', '8'] : ['-p', '512', '-n', '128'];
  const long = isQuick ? ['-p', '96', '-n', '4'] : ['-p', '8000', '-n', '32'];
  const suffix = isa === undefined ? '' : `-${isa}`;
  const at = isa === undefined ? '' : ` on ${isa}`;
  const section = (name: string, title: string, about: string, tables: readonly Table[], args: readonly string[]) => ({
    ...{ name: `${name}${suffix}`, title: `${title}${at}`, about, args, tables, takesSettings: true },
    ...(isa === undefined ? {} : { isa }),
  });
  const engine = ['bench', 'engine', ...reps];
  const rounds = ['--rounds', '5'];
  return [
    section('engine', 'The engine', engineAbout, [engineTable], [...engine, ...short, '--batch', '1,16']),
    section('long', 'Long context', longAbout, [engineTable], [...engine.slice(0, 2), '--reps', '3', ...long]),
    section('peers', 'Against llama.cpp', peersAbout, [peersTable], ['bench', 'peers', ...rounds]),
    section(
      'peers-batch',
      'Against llama.cpp, 16 sequences',
      batchAbout,
      [peersTable],
      [...['bench', 'peers', '--peer', 'xllamacpp', ...rounds, '--sequences', '16', '-p', '32', '-n', '48']],
    ),
  ];
}

const latency = (name: string, label: string): readonly Column[] =>
  ['p50', 'p95', 'p99'].map((point) => [`${label} ${point} ms`, `${name}.${point}`] as const);

const loadTables: readonly Table[] = [
  {
    rows: 'runs',
    columns: [
      ['clients', 'concurrency'],
      ['output tokens/s', 'outputTokensPerS'],
      ...latency('ttftMs', 'TTFT'),
      ...latency('itlMs', 'ITL'),
      ['errors', 'errors'],
    ],
  },
  {
    rows: 'peer.runs',
    columns: [
      ['clients', 'concurrency'],
      ['ours tokens/s', 'ours'],
      ['llama.cpp', 'theirs'],
      ['ours ÷ theirs', 'ratio'],
    ],
  },
];
const overheadTable: Table = {
  rows: 'runs',
  columns: [
    ['streams', 'batch'],
    ['alone ms', 'aloneMs'],
    ['serving ms', 'wallMs'],
    ['between steps', 'gapShare', '%'],
    ['serving adds', 'overheadShare', '%'],
  ],
};
const sharedTable: Table = {
  rows: 'runs',
  columns: [
    ['shared', 'isShared'],
    ['tokens computed', 'prefillTokens'],
    ['TTFT p50 ms', 'ttftMs.p50'],
    ['max ms', 'ttftMs.max'],
  ],
};
const guessesTable: Table = {
  rows: 'runs',
  columns: [
    ['text', 'text'],
    ['clients', 'concurrency'],
    ['without', 'offTokensPerS'],
    ['with', 'onTokensPerS'],
    ['with ÷ without', 'ratio'],
    ['guesses right', 'rightShare', '%'],
  ],
};

const loadAbout =
  'Whole responses for throughput, streams for latency; then the same requests against the server of llama.cpp, in ' +
  'alternation. Clients run on the same machine.';
const overheadAbout = 'Streams over HTTP against the same steps in the addon alone.';
const sharedAbout =
  'Users whose prompts begin with the same tokens, with the prefix cache and with prompts that share nothing.';
const guessesAbout = 'Answers that repeat their prompts and ones that don’t, without and with guesses.';

function serveSections({ isQuick }: Amount): readonly Section[] {
  const serve = (name: string, title: string, about: string, tables: readonly Table[], args: readonly string[]) => {
    return { name, title, about, args: ['bench', 'serve', ...args], tables, takesSettings: true };
  };
  const load = isQuick
    ? ['--concurrency', '1,2', '-p', '8', '-n', '4', '--seconds', '1']
    : ['--concurrency', '1,16', '-p', '125', '-n', '64', '--seconds', '5', '--peer'];
  const streams = ['--overhead', '--concurrency', ...(isQuick ? ['2', '--rounds', '1'] : ['1,32'])];
  const shared = ['--workload', 'shared-prefix', ...(isQuick ? ['--concurrency', '2', '-p', '100', '-n', '4'] : [])];
  const guesses = ['--workload', 'summarize', ...(isQuick ? ['--concurrency', '2', '-n', '40'] : [])];
  return [
    serve('serve', 'Over HTTP', loadAbout, loadTables, load),
    serve('overhead', 'What serving adds to a step', overheadAbout, [overheadTable], streams),
    serve('shared-prefix', 'A shared prefix', sharedAbout, [sharedTable], shared),
    serve('summarize', 'Guessed tokens', guessesAbout, [guessesTable], guesses),
  ];
}

const startColumns = (kind: string): readonly Column[] => [
  [`${kind} load ms`, `${kind}.loadMs`],
  ['ready ms', `${kind}.readyMs`],
  ['resident MiB', `${kind}.residentMiB`],
];

const constrainedTable: Table = {
  rows: 'runs',
  columns: [
    ['sequences', 'batch'],
    ['constraint', 'constraint'],
    ['free ms', 'freeMs'],
    ['constrained ms', 'constrainedMs'],
    ['cost', 'costShare', '%'],
  ],
};
const kernelsTable: Table = {
  rows: 'runs',
  columns: [
    ['family', 'family'],
    ['operation', 'op'],
    ['GMAC/s', 'gMacs'],
    ['weight GB/s', 'weightGBs'],
    ['of the roofline', 'rooflineShare', '%'],
    ['1B tokens/s', 'tokensPerS'],
  ],
};
const startTable: Table = {
  rows: '.',
  columns: [...startColumns('cold'), ...startColumns('warm'), ['bare Node MiB', 'bareNodeMiB']],
};
const accountingTable: Table = {
  rows: 'runs',
  columns: [
    ['sequences', 'batch'],
    ['step ms', 'stepMs'],
    ['accounting µs', 'accountingUs'],
    ['of the step', 'stepShare', '%'],
    ['reading, of a core', 'coreShare', '%'],
  ],
};

function otherSections({ isQuick }: Amount): readonly Section[] {
  const few = (...args: string[]) => (isQuick ? args : []);
  return [
    {
      name: 'constrained',
      title: 'Constrained output',
      about: 'The time of a token under a JSON schema and a regular expression, against the same without.',
      args: ['bench', 'constrained', ...few('-n', '16', '--batch', '1', '--rounds', '3')],
      takesSettings: true,
      tables: [constrainedTable],
    },
    {
      name: 'kernels',
      title: 'Kernels',
      about: 'Each kernel alone; `1B tokens/s` are the linear layers of one token of a 1B shape, from memory.',
      args: ['bench', 'kernels', ...few('--family', 'w4a8,f16', '--shape', '8x64x64', '--ms', '1')],
      takesSettings: false,
      tables: [kernelsTable],
    },
    {
      name: 'start',
      title: 'Start and memory',
      about: 'Process start to the first `200` of `/health`, with weights packed at the start and read from the cache.',
      args: ['bench', 'start', ...few('--rounds', '3')],
      takesSettings: true,
      tables: [startTable],
    },
    {
      name: 'accounting',
      title: 'Accounting',
      about: 'What it takes to divide energy and cost among requests.',
      args: ['bench', 'accounting', ...few('--batch', '1,3', '--generate', '48')],
      takesSettings: true,
      tables: [accountingTable],
    },
  ];
}

const speedColumns: readonly Column[] = [
  ['prefill 512', 'speed.prefill512'],
  ['prefill 2048', 'speed.prefill2048'],
  ['decode', 'speed.decode'],
  ['J a token', 'speed.joulesPerToken'],
];
const sourceTable: Table = {
  rows: 'reference',
  columns: [['', 'name'], ['bytes', 'fileBytes'], ['perplexity', 'perplexity'], ...speedColumns],
};
const recipesTable: Table = {
  rows: 'candidates',
  columns: [
    ['recipe', 'name'],
    ['bytes', 'fileBytes'],
    ['perplexity ÷ float', 'ratio'],
    ['mean KL', 'klMean'],
    ['same likeliest', 'sameTop', '%'],
    ...speedColumns,
  ],
};

/** Recipes that take half an hour each to make. */
const isSlow = (recipe: string): boolean => recipe.startsWith('rcp-');

/** The model itself, and every recipe made of it in minutes. */
function recipeSections({ data, isQuick }: Amount): readonly Section[] {
  if (data === null) return [];
  const recipes = [...namedRecipes.keys()].filter((name) => !isSlow(name));
  const amount = isQuick ? ['--windows', '2', '--window', '64', '--rounds', '1'] : ['--windows', '16', '--rounds', '3'];
  return [
    {
      name: 'recipes',
      title: 'Quality of every recipe',
      about:
        'Each recipe applied to the model and compared with the model in float32 on the same text; the model writes its ' +
        'own text to calibrate on. Joules are of decoding and, without a sensor, CPU time at a stated power. The `rcp-` ' +
        'recipes take half an hour each to make and are measured in [rcp.md](methods/rcp.md).',
      args: ['eval', 'recipes', '--recipes', recipes.join(','), '--data', data, '--protocol', 'second-half', ...amount],
      takesSettings: true,
      tables: [sourceTable, recipesTable],
    },
  ];
}

/** Everything that is measured, in this order. */
export function sectionsOf(amount: Amount): readonly Section[] {
  const { isQuick, otherIsa } = amount;
  const roofline: Section = {
    name: 'roofline',
    title: 'The machine',
    about: 'What this machine can do at all; every share below is of the limits of its own minute.',
    args: ['bench', 'roofline', ...(isQuick ? ['--ms', '5'] : [])],
    takesSettings: false,
    tables: [
      {
        rows: 'runs',
        columns: [
          ['level', 'isa'],
          ['threads', 'threads'],
          ['read GB/s', 'readGBs'],
          ['int8 GMAC/s', 'int8GMacs'],
          ['f32 GMAC/s', 'fp32GMacs'],
        ],
      },
    ],
  };
  const other = otherIsa === null ? [] : speedSections(amount, otherIsa);
  return [
    roofline,
    ...speedSections(amount),
    ...other,
    ...serveSections(amount),
    ...otherSections(amount),
    ...recipeSections(amount),
  ];
}
