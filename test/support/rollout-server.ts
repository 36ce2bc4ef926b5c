/** A server of several real models in the test's own process, with its admin routes. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { Energy } from '../../src/cli/serve-energy.js';
import { becomeReady, createModels, ModelOpener, namedSources, openFirst } from '../../src/cli/serve-models.js';
import { type Flags, loadConfig } from '../../src/config.js';
import { prepareModel } from '../../src/engine/open.js';
import type { RolloutReport } from '../../src/engine/rollout-report.js';
import type { AliasStatus } from '../../src/engine/routing.js';
import { CpuTimeMeter } from '../../src/metering/cpu-time.js';
import { EnergyMonitor } from '../../src/metering/energy-monitor.js';
import { KeyStore } from '../../src/server/access/keys.js';
import { buildAdminApp } from '../../src/server/admin-app.js';
import { buildApp } from '../../src/server/app.js';
import { Metrics } from '../../src/server/metrics/metrics.js';
import type { Models } from '../../src/server/models.js';
import type { CompletionBody } from '../../src/server/schemas/completion-response.js';

const ADMIN_KEY = 'an-admin-key';

export type AdminModels = {
  readonly models: readonly {
    readonly name: string;
    readonly state: string;
    readonly in_use: number;
    readonly bytes: number;
    readonly failure: { readonly code: string } | null;
  }[];
  readonly used_bytes: number;
  readonly budget_bytes: number | null;
};
export type AdminAlias = AliasStatus & { readonly report: RolloutReport | null };

export class AdminClient {
  readonly #app: FastifyInstance;

  constructor(app: FastifyInstance) {
    this.#app = app;
  }

  /** Must succeed. */
  async #json<T>(url: string, payload?: object): Promise<T> {
    const headers = { authorization: `Bearer ${ADMIN_KEY}` };
    const request = payload === undefined ? { url, headers } : { method: 'POST' as const, url, headers, payload };
    const response = await this.#app.inject(request);
    assert.equal(response.statusCode, 200, `${url}: ${response.body}`);
    return response.json<T>();
  }

  models(): Promise<AdminModels> {
    return this.#json('/admin/models');
  }

  /** State of each model by its name. */
  async states(): Promise<Readonly<Record<string, string>>> {
    const { models } = await this.models();
    return Object.fromEntries(models.map(({ name, state }) => [name, state]));
  }

  load(name: string, source?: string): Promise<AdminModels> {
    return this.#json('/admin/models/load', source === undefined ? { name } : { name, source });
  }

  unload(name: string, remove = false): Promise<AdminModels> {
    return this.#json('/admin/models/unload', { name, remove });
  }

  canary(alias: string, candidate: string, share: number, shadow: number): Promise<AdminAlias> {
    return this.#json('/admin/canary', { alias, candidate, share, shadow });
  }

  promote(alias: string): Promise<AdminAlias> {
    return this.#json('/admin/promote', { alias });
  }

  rollback(alias: string): Promise<AdminAlias> {
    return this.#json('/admin/rollback', { alias });
  }

  async alias(name: string): Promise<AdminAlias> {
    const { aliases } = await this.#json<{ readonly aliases: readonly AdminAlias[] }>('/admin/aliases');
    return aliases.find(({ alias }) => alias === name) ?? assert.fail(`no alias ${name}`);
  }
}

export class RolloutServer {
  readonly admin: AdminClient;
  readonly #app: FastifyInstance;
  readonly #models: Models;

  private constructor(app: FastifyInstance, admin: FastifyInstance, models: Models) {
    this.admin = new AdminClient(admin);
    this.#app = app;
    this.#models = models;
  }

  /** Takes settings as flags. */
  static async start(flags: Flags): Promise<RolloutServer> {
    const config = loadConfig(flags, {});
    const metrics = new Metrics('0.0.0-test');
    const logger = pino({ level: 'silent' });
    const energy = new Energy(new EnergyMonitor(new CpuTimeMeter(10)), null);
    const opener = new ModelOpener(config, prepareModel, metrics, logger, { energy, kvEvents: null });
    const models = await createModels(opener, config, logger);
    const sources = namedSources(config);
    becomeReady(models, await openFirst(opener, config, sources, new AbortController().signal), sources);
    const keys = new KeyStore([{ name: 'admin', hash: createHash('sha256').update(ADMIN_KEY).digest(), limits: {} }]);
    const admin = buildAdminApp({ models, metrics, logger, keys, tls: null, drainMs: 60_000, costReports: null });
    return new RolloutServer(buildApp({ models, metrics, logger }), admin, models);
  }

  post(payload: object) {
    return this.#app.inject({ method: 'POST', url: '/v1/completions', payload });
  }

  /** A completion, which must succeed. */
  async complete(body: object): Promise<CompletionBody> {
    const response = await this.post(body);
    assert.equal(response.statusCode, 200, response.body);
    return response.json<CompletionBody>();
  }

  async stop(): Promise<void> {
    this.#models.registry.close();
    await Promise.all(this.#models.registry.loaded().map((model) => model.close()));
  }
}
