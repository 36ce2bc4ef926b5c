import Type, { type Static, type TSchema } from 'typebox';
import { Value } from 'typebox/value';
import { configInvalid } from './errors.js';
import {
  CONTEXT_TOKENS_MAX,
  ITL_TARGET_MS,
  KV_BLOCK_TOKENS,
  QUEUE_SECONDS,
  SEQUENCES_MAX,
  STEP_ROWS_MAX,
  WAITING_MAX,
  WAITING_TOKENS_MAX,
} from './limits.js';
import { readSettingJson } from './setting-file.js';

/** `description` says what a setting does, `expected` completes "must be …", `auto` says what null means. */
type Notes = {
  readonly description: string;
  readonly expected: string;
  readonly auto?: string;
  /** Another flag for it, by which users of other servers know it. */
  readonly alias?: string;
};

const integer = (minimum: number, maximum: number, fallback: number, description: string) =>
  Type.Integer({
    minimum,
    maximum,
    default: fallback,
    description,
    expected: `an integer from ${minimum} to ${maximum}`,
  });
const integerOrAuto = (minimum: number, maximum: number, auto: string, description: string) =>
  Type.Union([Type.Integer({ minimum, maximum }), Type.Null()], {
    default: null,
    description,
    auto,
    expected: `an integer from ${minimum} to ${maximum}, or "auto"`,
  });

const textOrAuto = (what: string, auto: string, description: string) =>
  Type.Union([Type.String({ minLength: 1 }), Type.Null()], {
    default: null,
    auto,
    description,
    expected: `${what}, or "auto"`,
  });
const pathOrAuto = (auto: string, description: string) => textOrAuto('a path', auto, description);

/** Every setting: one schema for flags, environment and file. */
const settingsSchema = Type.Object(
  {
    model: Type.String({
      minLength: 1,
      default: 'default',
      description: 'Path of a GGUF file, or the name of a known model (see `nibble pull --list`).',
      expected: 'a path or a model name',
    }),
    models: textOrAuto(
      'name=path pairs with commas between',
      'the one of `model`',
      'Models of which requests name one, instead of `model`. The first is loaded at the start and is `default`, the others when they are first asked for.',
    ),
    modelMemoryMb: integerOrAuto(
      1,
      100_000_000,
      'no bound',
      'Memory that weights and KV caches of all loaded models may take, in MB. The model used longest ago makes room.',
    ),
    host: Type.String({
      minLength: 1,
      default: '127.0.0.1',
      description: 'Address to listen on. `0.0.0.0` accepts connections from other machines.',
      expected: 'an address or host name',
    }),
    port: integer(0, 65535, 8080, 'Port to listen on; 0 takes a free one.'),
    socket: pathOrAuto('none', 'Path of a Unix socket to listen on instead of host and port.'),
    tlsCert: pathOrAuto('none: plain HTTP', 'File of the certificate chain (PEM) for HTTPS; needs `tlsKey`.'),
    tlsKey: pathOrAuto('none: plain HTTP', 'File of the private key (PEM) for HTTPS; needs `tlsCert`.'),
    apiKeyFile: pathOrAuto(
      'none: no key is needed, unless `NIBBLE_API_KEYS` has some',
      'File of the API keys that may ask, and their limits (see docs/api.md). Read again on SIGHUP, as certificates are.',
    ),
    adminPort: integerOrAuto(
      0,
      65535,
      'none: no admin routes',
      'Port of the admin routes, which load models and change which one answers; 0 takes a free one. Needs a key.',
    ),
    adminHost: Type.String({
      minLength: 1,
      default: '127.0.0.1',
      description: 'Address that the admin routes listen on.',
      expected: 'an address or host name',
    }),
    adminKeyFile: pathOrAuto(
      'none, unless `NIBBLE_ADMIN_KEYS` has some',
      'File of the keys for the admin routes, in the form of `apiKeyFile`. Read again on SIGHUP.',
    ),
    corsOrigins: textOrAuto(
      'origins with commas between',
      'none',
      'Origins whose web pages may use the API; `*` is all.',
    ),
    requestSeconds: integerOrAuto(
      1,
      86_400,
      'none',
      'Longest time from a request to the end of its answer; beyond it, it is stopped with 504.',
    ),
    threads: integerOrAuto(
      1,
      1024,
      'physical cores, within the CPU quota',
      'Threads that compute. More than the physical cores seldom helps.',
    ),
    nice: integer(0, 19, 0, 'How far behind other programs the server stands when they want the same cores: 19 last.'),
    activations: Type.Union([Type.Enum(['a8', 'f32']), Type.Null()], {
      default: null,
      auto: 'by the recipe in the model file; without one, a8',
      description: 'How linear layers read their input: `a8` = int8 per token and group (fast), `f32` = exact.',
      expected: '"a8", "f32" or "auto"',
    }),
    lookups: Type.Union([Type.String({ pattern: '^(\\d|1[0-6])(,(\\d|1[0-6])){3}$' }), Type.Null()], {
      default: null,
      auto: 'what `nibble tune` measured on this machine, else 16,8,4,4',
      description:
        'Up to how many tokens of a step weights of 1, 2, 3 and 4 bits in planes are looked up instead of multiplied, such as `16,8,4,0`; no result changes.',
      expected: 'four integers from 0 to 16 with commas between, or "auto"',
    }),
    kv: Type.Union([Type.Enum(['f16', 'kv8', 'k8v4', 'kv4']), Type.Null()], {
      default: null,
      auto: 'by the recipe in the model file; without one, f16',
      description:
        'How keys and values are cached: `f16`, `kv8` (8 bits: 1.9 times smaller), `k8v4` (2.5) or `kv4` (3.6, costs quality).',
      expected: '"f16", "kv8", "k8v4", "kv4" or "auto"',
    }),
    contextTokens: Type.Union([Type.Integer({ minimum: KV_BLOCK_TOKENS, maximum: CONTEXT_TOKENS_MAX }), Type.Null()], {
      default: null,
      description: 'Longest sequence (prompt and completion), in tokens.',
      auto: "the model's own context length",
      expected: `an integer from ${KV_BLOCK_TOKENS} to ${CONTEXT_TOKENS_MAX}, or "auto"`,
      alias: '--ctx-size',
    }),
    kvTokens: integerOrAuto(
      KV_BLOCK_TOKENS,
      1_073_741_824,
      'eight full contexts, but at most half of the free memory',
      'Size of the KV cache that all sequences share, in tokens.',
    ),
    pinPrefix: pathOrAuto(
      'none',
      'Text file, or folder of `.txt` files, whose beginnings stay in the KV cache, also across restarts (docs/api.md).',
    ),
    maxSequences: integer(1, STEP_ROWS_MAX, SEQUENCES_MAX, 'Sequences that are generated at the same time.'),
    maxWaiting: integer(0, 65536, WAITING_MAX, 'Sequences that may wait for their turn; beyond it requests get 429.'),
    maxWaitingTokens: integer(
      0,
      1_073_741_824,
      WAITING_TOKENS_MAX,
      'Prompt tokens that may wait for their turn; beyond it requests get 429.',
    ),
    queueSeconds: integer(
      1,
      86_400,
      QUEUE_SECONDS,
      'Time that a request may wait for its turn; beyond it, it gets 503.',
    ),
    itlTarget: integer(
      1,
      60_000,
      ITL_TARGET_MS,
      'Time between two tokens of a running answer, in milliseconds, that prompts of others are cut into chunks for.',
    ),
    speculate: Type.Enum(['ngram', 'off'], {
      default: 'ngram',
      description:
        'Guess the next tokens of text that repeats itself, and compute several at once where that pays; no result changes.',
      expected: '"ngram" or "off"',
    }),
    kvEvents: textOrAuto(
      'an address such as tcp://127.0.0.1:5557',
      'none',
      'Address at which routers can read what the prefix cache holds: ZeroMQ PUB, MessagePack, as vLLM has it; `?topic=` may follow (docs/deployment.md).',
    ),
    energyMeter: Type.String({
      minLength: 1,
      default: 'auto',
      description:
        'What measures energy: `rapl`, `hwmon`, a meter that answers HTTP (`http://plug/status#apower:W`), a command (`exec:read-meter#W`), `tdp` for an estimate from CPU time, `modelled` for one from the work done; `auto` takes the best that is there, `off` none.',
      expected: 'a way to measure energy, or "auto" or "off"',
    }),
    prices: pathOrAuto(
      'none: joules alone',
      'JSON file of the prices of energy and of this machine (see docs/energy-and-cost.md).',
    ),
    ledger: pathOrAuto(
      'none',
      'SQLite file in which every request is entered with its tokens, energy and money (see docs/energy-and-cost.md).',
    ),
    ledgerDays: integer(1, 36_500, 400, 'Days that requests stay in the ledger.'),
    coreWatts: integer(1, 1000, 10, 'Power of one busy core, in watts, where nothing measures energy.'),
    tokenPruning: Type.Enum(['on', 'off'], {
      default: 'on',
      description:
        'Whether requests (`token_pruning`) and recipes may have tokens of long prompts left out of later layers.',
      expected: '"on" or "off"',
    }),
    drainSeconds: integer(
      0,
      3600,
      25,
      'Time that running requests get to finish after SIGTERM or SIGINT before they are cut.',
    ),
    logLevel: Type.Enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], {
      default: 'info',
      description: 'Least severe log line that is written to stderr. Prompts are never logged.',
      expected: '"fatal", "error", "warn", "info", "debug", "trace" or "silent"',
    }),
    packCacheMb: integer(
      0,
      100_000_000,
      16_000,
      'Disk space for packed weights and pinned prefixes, which make the next start quicker, in MB; 0 stores none.',
    ),
    offline: Type.Boolean({
      default: false,
      description: 'Never use the network to fetch a model.',
      expected: 'true or false',
    }),
    home: pathOrAuto("a folder in the user's cache", 'Folder of downloaded models and other files of Nibble.'),
  },
  { additionalProperties: false },
);

export type Config = Readonly<Static<typeof settingsSchema>>;
export type SettingKey = keyof Config;

export const settingKeys = Object.keys(settingsSchema.properties) as readonly SettingKey[];

/** One setting as people meet it. */
export type SettingDescription = {
  readonly key: SettingKey;
  readonly flag: string;
  readonly alias: string | null;
  readonly env: string;
  readonly isSwitch: boolean;
  readonly expected: string;
  readonly fallback: string;
  readonly description: string;
};

export function describeSetting(key: SettingKey): SettingDescription {
  const schema: TSchema & Partial<Notes> & { default?: unknown } = settingsSchema.properties[key];
  const words = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return {
    key,
    flag: `--${words}`,
    alias: schema.alias ?? null,
    env: `NIBBLE_${words.replaceAll('-', '_').toUpperCase()}`,
    isSwitch: baseType(key) === 'boolean',
    expected: schema.expected ?? '',
    fallback: schema.default === null ? `auto: ${schema.auto ?? ''}` : String(schema.default),
    description: schema.description ?? '',
  };
}

/** The JSON type that a text (flag or variable) is read as. */
function baseType(key: SettingKey): 'integer' | 'boolean' | 'string' {
  const schema: TSchema & { anyOf?: readonly TSchema[] } = settingsSchema.properties[key];
  const first: TSchema & { type?: unknown } = schema.anyOf?.[0] ?? schema;
  return first.type === 'integer' || first.type === 'boolean' ? first.type : 'string';
}

function isNullable(key: SettingKey): boolean {
  return Value.Check(settingsSchema.properties[key], null);
}

/** What a text means for a setting. A text that means nothing stays text, and then fails the schema. */
function parseText(key: SettingKey, text: string): unknown {
  if (text === 'auto' && isNullable(key)) return null;
  switch (baseType(key)) {
    case 'integer':
      return /^-?\d{1,15}$/.test(text) ? Number(text) : text;
    case 'boolean':
      return text === 'true' || text === '1' ? true : text === 'false' || text === '0' ? false : text;
    case 'string':
      return text;
  }
}

/** A value and where it was found, for messages. */
type Found = { readonly value: unknown; readonly source: string };

function check(key: SettingKey, found: Found): unknown {
  if (!Value.Check(settingsSchema.properties[key], found.value)) {
    const message = `must be ${describeSetting(key).expected} (from ${found.source})`;
    throw configInvalid(key, message);
  }
  return found.value;
}

/** Reads a JSON settings file: an object whose keys are settings. "auto" is allowed as in flags. */
function readConfigFile(path: string): ReadonlyMap<SettingKey, Found> {
  const content = readSettingJson('config', path);
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw configInvalid('config', `${path} must hold a JSON object`);
  }
  const values = new Map<SettingKey, Found>();
  for (const [name, value] of Object.entries(content)) {
    const key = settingKeys.find((candidate) => candidate === name);
    if (key === undefined) throw configInvalid(name.slice(0, 64), `is not a setting (from ${path})`);
    values.set(key, { value: value === 'auto' && isNullable(key) ? null : value, source: path });
  }
  return values;
}

/** What a variable says; null if nothing. Kubernetes sets NIBBLE_PORT to tcp://… where a service is called nibble. */
function variableText(variable: string, env: Environment): string | null {
  const text = env[variable];
  return !text || (variable === 'NIBBLE_PORT' && text.startsWith('tcp://')) ? null : text;
}

/** Variables of the program that are no settings. */
const otherVariables = ['CONFIG', 'API_KEYS', 'ADMIN_KEYS', 'ISA', 'ADDON_BUILD'].map((name) => `NIBBLE_${name}`);

/** Variables that look as if they were for this program and that it doesn't know, but for those of Kubernetes. */
export function unknownVariables(env: Environment): readonly string[] {
  const known = new Set([...settingKeys.map((key) => describeSetting(key).env), ...otherVariables]);
  return Object.keys(env).filter((name) => /^NIBBLE_(?!SERVICE_|PORT_)/.test(name) && !known.has(name));
}

/** Values given by the command line: text, or true for a switch. Other keys are ignored. */
export type Flags = Readonly<Record<string, unknown>>;
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Settings from flags, then environment, then the file that `--config` or `NIBBLE_CONFIG` names, then defaults; the
 * first that has a value wins. An empty variable counts as unset. The result is frozen.
 * Throws `config_invalid` with the key and where the bad value was found.
 */
export function loadConfig(flags: Flags, env: Environment): Config {
  const fromFlags = flags.config;
  const configPath = typeof fromFlags === 'string' ? fromFlags : env.NIBBLE_CONFIG || undefined;
  const file = configPath === undefined ? new Map<SettingKey, Found>() : readConfigFile(configPath);
  const values: Record<string, unknown> = {};
  for (const key of settingKeys) {
    const { flag, env: variable } = describeSetting(key);
    const flagValue = flags[key];
    const envValue = variableText(variable, env);
    const fromFile = file.get(key);
    // Every source is checked, even one that loses: a mistake in a file shouldn't hide behind a flag.
    const checkedFile = fromFile === undefined ? undefined : check(key, fromFile);
    const checkedEnv =
      envValue === null ? undefined : check(key, { value: parseText(key, envValue), source: variable });
    const text = typeof flagValue === 'string' ? parseText(key, flagValue) : flagValue;
    const checkedFlag = flagValue === undefined ? undefined : check(key, { value: text, source: flag });
    values[key] = [checkedFlag, checkedEnv, checkedFile].find((value) => value !== undefined);
    if (values[key] === undefined) values[key] = Value.Default(settingsSchema.properties[key], undefined);
  }
  return Object.freeze(Value.Parse(settingsSchema, values));
}

/** Full contexts that the KV pool holds by default, memory permitting. */
const KV_CONTEXTS_DEFAULT = 8;

/**
 * Size of the KV pool in tokens when none is set: eight full contexts, but at most half of the memory that is free
 * once the weights are loaded (the rest is for packing, prompts and the page cache), and never less than one block.
 */
export function chooseKvTokens(input: {
  readonly contextTokens: number;
  readonly bytesPerToken: number;
  readonly availableBytes: number;
}): number {
  const wanted = KV_CONTEXTS_DEFAULT * input.contextTokens;
  const affordable = input.availableBytes / 2 / input.bytesPerToken;
  const blocks = Math.floor(Math.min(wanted, affordable) / KV_BLOCK_TOKENS);
  return Math.max(1, blocks) * KV_BLOCK_TOKENS;
}
