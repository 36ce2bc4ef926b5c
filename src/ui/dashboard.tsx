/** What the server is doing, from its own metrics, once a second while somebody looks. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { type Load, loadBetween, type ModelLoad } from './load.js';
import { parseMetrics, type Snapshot } from './metrics-text.js';

const periodMs = 1000;
/** Two minutes of history. */
const samplesKept = 120;
/** Latencies and shares are those of this many last scrapes: single seconds are too few to tell. */
const windowScrapes = 15;

export async function scrape(): Promise<Snapshot> {
  const response = await fetch('metrics');
  return parseMetrics(await response.text(), performance.now());
}

type History = { readonly loads: readonly Load[]; readonly recent: Load | null; readonly isLost: boolean };

/** Scrapes while the page can be seen. */
function useLoads(): History {
  const [history, setHistory] = useState<History>({ loads: [], recent: null, isLost: false });
  useEffect(() => {
    const snapshots: Snapshot[] = [];
    const tick = async () => {
      if (document.hidden) return;
      try {
        const now = await scrape();
        const last = snapshots.at(-1);
        snapshots.push(now);
        if (snapshots.length > windowScrapes) snapshots.shift();
        const first = snapshots[0];
        if (last === undefined || first === undefined) return;
        const load = loadBetween(last, now);
        setHistory(({ loads }) => ({
          loads: [...loads, load].slice(-samplesKept),
          recent: loadBetween(first, now),
          isLost: false,
        }));
      } catch {
        setHistory((known) => ({ ...known, isLost: true }));
      }
    };
    void tick();
    const timer = setInterval(() => void tick(), periodMs);
    return () => clearInterval(timer);
  }, []);
  return history;
}

function Sparkline(props: { readonly values: readonly number[]; readonly label: string }): JSX.Element {
  const { values, label } = props;
  const [width, height] = [240, 48];
  const top = Math.max(...values, 1e-9);
  const x = (i: number) => width - ((values.length - 1 - i) * width) / (samplesKept - 1);
  const y = (value: number) => height - 1 - (value / top) * (height - 4);
  const points = values.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`);
  const area = points.length === 0 ? '' : `${x(0)},${height} ${points.join(' ')} ${width},${height}`;
  return (
    <svg viewBox={`0 0 ${width} ${height}`} role="img" aria-label={label} preserveAspectRatio="none">
      <polygon points={area} class="area" />
      <polyline points={points.join(' ')} class="line" />
    </svg>
  );
}

function Card(props: {
  readonly title: string;
  readonly value: string;
  readonly note?: string;
  readonly values?: readonly number[];
}): JSX.Element {
  const { title, value, note, values } = props;
  return (
    <section class="card" aria-label={title}>
      <h3>{title}</h3>
      <p class="figure">{value}</p>
      {note !== undefined && <p class="hint">{note}</p>}
      {values !== undefined && <Sparkline values={values} label={`${title}, the last two minutes`} />}
    </section>
  );
}

/** Free, kept for the prefix cache, in use: the KV cache as one bar. */
function KvBar({ used, cached, label }: { used: number; cached: number; label: string }): JSX.Element {
  const percent = (share: number) => `${(share * 100).toFixed(0)} %`;
  return (
    <>
      <svg viewBox="0 0 100 8" role="img" aria-label={label} preserveAspectRatio="none" class="bar">
        <rect width="100" height="8" class="free" />
        <rect width={(used + cached) * 100} height="8" class="cached" />
        <rect width={used * 100} height="8" class="used" />
      </svg>
      <p class="hint">
        {percent(used)} in use, {percent(cached)} kept for prefixes, {percent(Math.max(0, 1 - used - cached))} free
      </p>
    </>
  );
}

function ModelRows({ models }: { readonly models: readonly ModelLoad[] }): JSX.Element {
  return (
    <div class="scroll">
      <table>
        <caption>Loaded models</caption>
        <thead>
          <tr>
            {['Model', 'Running', 'Waiting', 'KV cache'].map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {models.map(({ name, running, waiting, kvUsed, kvCached }) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td class="number">{running}</td>
              <td class="number">{waiting}</td>
              <td>
                <KvBar used={kvUsed} cached={kvCached} label={`KV cache of ${name}`} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const ms = (seconds: number | null): string => (seconds === null ? '–' : `${(seconds * 1000).toPrecision(3)} ms`);

function energyCard(load: Load, loads: readonly Load[]): JSX.Element {
  const { energy } = load;
  if (energy === null) return <Card title="Energy" value="–" note="Nothing measures energy." />;
  const { prefill, decode, idle } = energy.watts;
  const each = energy.joulesPerToken === null ? '' : ` · ${energy.joulesPerToken.toPrecision(3)} J a token`;
  const source = energy.source === 'tdp' ? 'estimated' : energy.source;
  const wattsOf = (one: Load) =>
    one.energy === null ? 0 : one.energy.watts.prefill + one.energy.watts.decode + one.energy.watts.idle;
  return (
    <Card
      title="Energy"
      value={`${(prefill + decode + idle).toFixed(1)} W`}
      note={`prompts ${prefill.toFixed(1)}, answers ${decode.toFixed(1)}, idle ${idle.toFixed(1)} W${each} · ${source}`}
      values={loads.map(wattsOf)}
    />
  );
}

export function Dashboard(): JSX.Element {
  const { loads, recent, isLost } = useLoads();
  const now = loads.at(-1);
  if (now === undefined || recent === null) return <p role="status">{isLost ? 'No metrics.' : 'Reading…'}</p>;
  const hits = recent.hitShare === null ? '–' : `${(recent.hitShare * 100).toFixed(0)} %`;
  const { used, cached, total } = now.kvBlocks;
  const blocks = Math.max(1, total);
  return (
    <>
      <h2>Dashboard</h2>
      <p role="status" class={isLost ? 'bad' : 'hint'}>
        {isLost ? 'The server can’t be reached.' : ''}
      </p>
      <div class="cards">
        <Card
          title="Answers"
          value={`${now.answerTokensPerS.toFixed(0)} tokens/s`}
          values={loads.map((load) => load.answerTokensPerS)}
        />
        <Card
          title="Prompts"
          value={`${now.promptTokensPerS.toFixed(0)} tokens/s`}
          values={loads.map((load) => load.promptTokensPerS)}
        />
        <Card
          title="Queue"
          value={`${now.running} running, ${now.waiting} waiting`}
          note={`a request now waits ${now.queueSeconds.toFixed(1)} s`}
          values={loads.map((load) => load.running + load.waiting)}
        />
        <section class="card" aria-label="KV cache">
          <h3>KV cache</h3>
          <p class="figure">{total} blocks</p>
          <KvBar used={used / blocks} cached={cached / blocks} label="KV cache of all models" />
        </section>
        <Card title="Prefix cache hits" value={hits} note="of prompt tokens, last 15 s" />
        <Card
          title="First token"
          value={ms(recent.firstTokenP50)}
          note={`95 %: ${ms(recent.firstTokenP95)}, last 15 s`}
        />
        <Card title="Between tokens" value={ms(recent.tokenP50)} note={`95 %: ${ms(recent.tokenP95)}, last 15 s`} />
        <Card
          title="Sequences"
          value={`${recent.requestsPerS.toFixed(1)} /s`}
          note={`${recent.errorsPerS.toFixed(1)} errors/s`}
        />
        {energyCard(recent, loads)}
      </div>
      <ModelRows models={now.models} />
    </>
  );
}
