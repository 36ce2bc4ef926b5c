/** The same question to several models, one after the other, so that each has the machine for itself. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { SamplingFields, usualSampling } from './fields.js';
import { AnswerText, energyText, noRun, type Run, runToEnd, speedOf, textOf, useAbort } from './run.js';
import type { KnownModel, ServerState } from './server-state.js';

const formatsOf = ({ recipe }: KnownModel): string => {
  const shares = Object.entries(recipe?.weights ?? {}).sort(([, a], [, b]) => b - a);
  return shares.map(([format, share]) => `${format} ${(share * 100).toFixed(0)} %`).join(', ');
};

function ModelTable(props: {
  readonly models: readonly KnownModel[];
  readonly chosen: ReadonlySet<string>;
  readonly toggle: (id: string) => void;
}): JSX.Element {
  return (
    <div class="scroll">
      <table>
        <caption>Models of this server</caption>
        <thead>
          <tr>
            {['Compare', 'State', 'Recipe', 'Weights, by bytes', 'Activations', 'Context'].map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {props.models.map((model) => (
            <tr key={model.id}>
              <th scope="row">
                <label class="choice">
                  <input type="checkbox" checked={props.chosen.has(model.id)} onChange={() => props.toggle(model.id)} />
                  {model.id}
                </label>
              </th>
              <td>{model.state}</td>
              <td>{model.recipe?.name ?? 'as in the file'}</td>
              <td>{formatsOf(model)}</td>
              <td>{model.recipe?.activations ?? ''}</td>
              <td class="number">{model.max_model_len ?? ''}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Characters that two texts begin with alike. */
function commonLength(a: string, b: string): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length += 1;
  return length;
}

function agreement(first: Run, other: Run): string {
  const [a, b] = [textOf(first), textOf(other)];
  if (other.status !== 'done' || first === other) return '';
  return a === b ? 'the same text as the first' : `as the first for ${commonLength(a, b)} characters`;
}

function Answers({ runs }: { readonly runs: readonly (readonly [string, Run])[] }): JSX.Element {
  const first = runs[0]?.[1] ?? noRun;
  return (
    <div class="columns">
      {runs.map(([id, run]) => (
        <section key={id} class="card" aria-label={`Answer of ${id}`} aria-busy={run.status === 'running'}>
          <h3>{id}</h3>
          <dl>
            <dt>First token</dt>
            <dd>{run.firstMs === null ? '–' : `${run.firstMs.toFixed(0)} ms`}</dd>
            <dt>Speed</dt>
            <dd>{speedOf(run) === null ? '–' : `${speedOf(run)?.toFixed(0)} tokens/s`}</dd>
            <dt>Energy</dt>
            <dd>{energyText(run) || '–'}</dd>
          </dl>
          <AnswerText run={run} />
          <p class={run.status === 'failed' ? 'bad' : 'hint'}>
            {run.status === 'failed' ? run.reason : agreement(first, run)}
          </p>
        </section>
      ))}
    </div>
  );
}

export function Compare({ server }: { readonly server: ServerState }): JSX.Element {
  const real = server.models.filter(({ root }) => root === undefined);
  const [left, setLeft] = useState<ReadonlySet<string>>(new Set());
  const [prompt, setPrompt] = useState('The capital of France is');
  const [sampling, setSampling] = useState({ ...usualSampling, temperature: 0, maxTokens: 64 });
  const [runs, setRuns] = useState<readonly (readonly [string, Run])[]>([]);
  const [isRunning, setIsRunning] = useState(false);
  const { begin, stop } = useAbort();
  const chosen = new Set(real.map(({ id }) => id).filter((id) => !left.has(id)));
  const toggle = (id: string) => setLeft(new Set(left.has(id) ? [...left].filter((one) => one !== id) : [...left, id]));
  const compare = async (event: Event) => {
    event.preventDefault();
    const signal = begin();
    setIsRunning(true);
    setRuns([...chosen].map((id) => [id, noRun]));
    for (const id of chosen) {
      if (signal.aborted) break;
      const question = { model: id, content: { prompt }, sampling, showsProbabilities: true };
      const show = (run: Run) => setRuns((known) => known.map((one) => (one[0] === id ? [id, run] : one)));
      // A model that has to be loaded shouldn't have that counted as its time to the first token.
      const isLoaded = real.find((model) => model.id === id)?.state === 'ready';
      const first = { ...question, sampling: { ...sampling, maxTokens: 1 }, asksCost: false };
      if (!isLoaded) await runToEnd(first, server.key, signal, () => undefined);
      await runToEnd({ ...question, asksCost: server.hasEnergy }, server.key, signal, show);
    }
    setIsRunning(false);
    server.refresh();
  };
  return (
    <form onSubmit={(event) => void compare(event)}>
      <h2>Compare recipes</h2>
      <ModelTable models={real} chosen={chosen} toggle={toggle} />
      <SamplingFields value={sampling} onChange={setSampling} />
      <label>
        Text to continue
        <textarea rows={3} value={prompt} onInput={(event) => setPrompt(event.currentTarget.value)} />
      </label>
      <div class="row">
        <button type="submit" disabled={isRunning || chosen.size === 0}>
          Compare
        </button>
        <button type="button" disabled={!isRunning} onClick={stop}>
          Stop
        </button>
      </div>
      <p role="status">{isRunning ? 'Generating…' : runs.length > 0 ? 'Compared' : ''}</p>
      <Answers runs={runs} />
    </form>
  );
}
