/** The models of `serve`: their names in the settings, and how they are opened. */
import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import type { Config } from '../config.js';
import type { LoadedModel, PreparedModel } from '../engine/model-registry.js';
import type { OpenedModel, PrepareModel } from '../engine/open-types.js';
import { planPruning } from '../engine/pruning.js';
import { DEFAULT_ALIAS } from '../engine/routing.js';
import type { EngineObserver } from '../engine/types.js';
import { warmUp } from '../engine/warm-up.js';
import { configInvalid, NibbleError } from '../errors.js';
import { PRUNING_WINDOW_TOKENS, STEP_TOKENS_MAX } from '../limits.js';
import { modelWorkOf } from '../metering/model-work.js';
import { compositionOf } from '../model/composition.js';
import { packedHeadBytes } from '../model/packed-bytes.js';
import { activationsOf } from '../model/recipe.js';
import type { ModelFile } from '../model/types.js';
import { readCounter } from '../native/contract.js';
import type { Metrics } from '../server/metrics/metrics.js';
import type { Models } from '../server/models.js';
import { namePattern } from '../server/schemas/admin.js';
import type { ModelRecipe, ServedModel } from '../server/served-model.js';
import type { KvEvents, ModelEvents } from './kv-events/index.js';
import { openOptions } from './open-options.js';
import { packageVersion } from './output.js';
import type { Energy } from './serve-energy.js';

/** A model as the settings name it; null: it goes by the name of its file. */
export type NamedSource = { readonly name: string | null; readonly source: string };

const failure = (message: string) => configInvalid('models', message);

/** Throws `config_invalid`. There is at least one; the first is loaded at the start. */
export function namedSources({ model, models }: Pick<Config, 'model' | 'models'>): readonly NamedSource[] {
  if (models === null) return [{ name: null, source: model }];
  const given = models.split(',').map((pair) => pair.trim());
  const named = given.map((pair): NamedSource & { readonly name: string } => {
    const [, name = '', source = ''] = /^([^=]*)=(.*)$/s.exec(pair) ?? [];
    if (!new RegExp(namePattern).test(name) || name === DEFAULT_ALIAS || source.trim() === '') {
      throw failure(`"${pair.slice(0, 64)}" is not name=path, with a name of letters, digits and _ . : / -`);
    }
    return { name, source: source.trim() };
  });
  if (new Set(named.map(({ name }) => name)).size < named.length) throw failure('two models have the same name');
  return named;
}

/** What is loaded must fit into this together, bytes; null: no bound. */
const memoryBudget = ({ modelMemoryMb }: Pick<Config, 'modelMemoryMb'>): number | null =>
  modelMemoryMb === null ? null : modelMemoryMb * 1e6;

type OnStep = Required<EngineObserver>['onStep'];

type Opened = LoadedModel<ServedModel> & { readonly opened: OpenedModel };

type PreparedNamed = Omit<PreparedModel<ServedModel>, 'open'> & {
  readonly name: string;
  readonly open: () => Promise<Opened>;
};

/** The model that is loaded at the start. */
export type FirstModel = { readonly name: string; readonly source: string; readonly loaded: Opened };

/** What `/v1/models` says of a model's formats. */
function servedRecipe(file: ModelFile, wanted: Config['activations']): ModelRecipe {
  const activations = activationsOf(file, wanted);
  if (file.nibble === null) return { ...compositionOf(file), activations };
  const { name, classes, layers } = file.nibble.recipe;
  return { ...compositionOf(file), activations, name, classes, ...(layers === undefined ? {} : { layers }) };
}

/** A window must fit into a step beside every sequence that decodes. */
function servedPruning({ architecture, nibble }: ModelFile, config: Config): ServedModel['pruning'] {
  const { layers } = architecture;
  const recipe = nibble?.recipe.pruning;
  return {
    isAllowed: config.tokenPruning === 'on' && config.maxSequences + PRUNING_WINDOW_TOKENS <= STEP_TOKENS_MAX,
    layers,
    usual: recipe === undefined ? null : planPruning(recipe, layers),
  };
}

/** Opens models for the server: with its settings, its metrics and its log. */
export class ModelOpener {
  readonly #config: Config;
  readonly #prepareModel: PrepareModel;
  readonly #metrics: Metrics;
  readonly #logger: Logger;
  readonly #energy: Energy | null;
  readonly #kvEvents: KvEvents | null;
  /** Models that the settings name: each gets the same share of the memory. */
  readonly #shares: number;

  constructor(
    config: Config,
    prepareModel: PrepareModel,
    metrics: Metrics,
    logger: Logger,
    { energy, kvEvents }: { readonly energy: Energy | null; readonly kvEvents: KvEvents | null },
  ) {
    this.#config = config;
    this.#prepareModel = prepareModel;
    this.#metrics = metrics;
    this.#logger = logger;
    this.#energy = energy;
    this.#kvEvents = kvEvents;
    this.#shares = namedSources(config).length;
  }

  /** Finds a model; `name` null: it goes by the name of its file. Rejects with a NibbleError. */
  async prepare(name: string | null, source: string, signal?: AbortSignal): Promise<PreparedNamed> {
    const budget = memoryBudget(this.#config);
    const metrics = this.#metrics.addModel();
    let onStep = metrics.observer.onStep;
    let kv: ModelEvents | null = null;
    const prepared = await this.#prepareModel({
      ...openOptions(this.#config),
      model: source,
      memoryBytes: budget === null ? null : budget / this.#shares,
      ...(this.#config.pinPrefix === null ? {} : { pinPrefix: this.#config.pinPrefix }),
      observer: {
        ...metrics.observer,
        onStep: (step) => onStep(step),
        ...(this.#kvEvents === null
          ? {}
          : {
              onBlockStored: (block: number, parent: number, ids: Int32Array) => kv?.onBlockStored(block, parent, ids),
              onBlockRemoved: (block: number) => kv?.onBlockRemoved(block),
            }),
      },
      onPinned: (prefixes) => this.#logger.info({ model: name ?? source, prefixes }, 'prefixes pinned'),
      onWarning: (message) => this.#logger.warn({ model: name ?? source }, message),
      ...(signal === undefined ? {} : { signal }),
    });
    const id = name ?? prepared.id;
    const open = async (): Promise<Opened> => {
      kv = this.#kvEvents?.ofModel(id) ?? null;
      const opened = await prepared.open();
      const { level, threads, packedBytes, kvBytes, loadNs } = opened.nativeModel.info;
      await warmUp(opened.engine, opened.tokenizer).catch((error: unknown) => {
        this.#logger.warn({ err: error, model: id }, 'the model could not be warmed up');
      });
      metrics.attach({ id, engine: opened.engine, level, threads });
      const { activations, name: recipe } = servedRecipe(opened.modelFile, this.#config.activations);
      onStep = this.#measured(opened, activations, metrics.observer.onStep);
      const formats = { activations, ...(recipe === undefined ? {} : { recipe }) };
      this.#logger.info({ model: id, source, ms: Math.round(loadNs / 1e6), ...formats }, 'loaded');
      const model = this.#served(id, prepared.content, opened, (prompt, cached) =>
        metrics.countPrefixCache(prompt, cached),
      );
      const close = async (): Promise<void> => {
        await opened.close();
        kv?.close();
        metrics.detach();
        this.#logger.info({ model: id }, 'unloaded');
      };
      return { model, bytes: packedBytes + kvBytes, close, opened };
    };
    return { name: id, bytes: prepared.bytes, open };
  }

  /** Each step is counted, and its energy divided. */
  #measured({ nativeModel, modelFile }: OpenedModel, activations: string, count: OnStep): OnStep {
    const energy = this.#energy;
    if (energy === null) return count;
    const headBytes = packedHeadBytes(modelFile.tensors);
    const work = modelWorkOf(nativeModel.info, modelFile.architecture, activations, headBytes);
    return (step) => {
      count(step);
      energy.monitor.addStep(readCounter(step.counters, 'totalNs') * 1e-9, step.parts, work);
    };
  }

  #served(id: string, content: string, opened: OpenedModel, onSequenceEnd: ServedModel['onSequenceEnd']): ServedModel {
    const { modelFile, tokenizer, engine, chatTemplate, encodeLong } = opened;
    const { activations, kv, tokenPruning } = this.#config;
    const identity = [packageVersion(), content, activations, kv, tokenPruning].join('\n');
    return {
      id,
      createdSeconds: Math.floor(Date.now() / 1000),
      fingerprint: `fp_${createHash('sha256').update(identity).digest('hex').slice(0, 12)}`,
      engine,
      tokenizer,
      recipe: servedRecipe(modelFile, activations),
      chat: chatTemplate,
      pruning: servedPruning(modelFile, this.#config),
      infill: modelFile.tokenizer.infill ?? null,
      onSequenceEnd,
      encodeLong,
      costs: this.#energy,
    };
  }
}

/** Loads the first model, within the memory that all may take. */
export async function openFirst(
  opener: ModelOpener,
  config: Config,
  [first]: readonly NamedSource[],
  signal: AbortSignal,
): Promise<FirstModel> {
  const { name, source } = first ?? { name: null, source: config.model };
  const prepared = await opener.prepare(name, source, signal);
  const budgetBytes = memoryBudget(config) ?? Number.POSITIVE_INFINITY;
  const check = (neededBytes: number): void => {
    if (neededBytes > budgetBytes) throw new NibbleError('model_memory_exceeded', { neededBytes, budgetBytes });
  };
  check(prepared.bytes);
  const loaded = await prepared.open();
  check(loaded.bytes);
  return { name: prepared.name, source, loaded };
}

/** The books of all models, without any yet. */
export async function createModels(opener: ModelOpener, config: Config, logger: Logger): Promise<Models> {
  const [{ ModelRegistry }, { Routing }, { Models }, { Readiness }] = await Promise.all([
    import('../engine/model-registry.js'),
    import('../engine/routing.js'),
    import('../server/models.js'),
    import('../server/readiness.js'),
  ]);
  const registry = new ModelRegistry<ServedModel>({
    prepare: (name, source) => opener.prepare(name, source),
    onFailure: (model, { code, message }) => logger.error({ model, code, reason: message }, 'not loaded'),
    budgetBytes: memoryBudget(config),
    now: () => performance.now(),
  });
  const readiness = new Readiness();
  return new Models({ registry, routing: new Routing(), readiness, queueMsMax: config.queueSeconds * 1000 });
}

/** The first model is loaded: from now on it serves, and the others can be asked for. */
export function becomeReady(models: Models, first: FirstModel, sources: readonly NamedSource[]): void {
  models.registry.add(first.name, first.source, first.loaded);
  for (const { name, source } of sources.slice(1)) models.registry.add(name ?? source, source);
  models.routing.set(DEFAULT_ALIAS, first.name);
  models.readiness.becomeReady();
}
