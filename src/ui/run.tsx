/** A question under way, as state of a component, and how its answer is shown. */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { AskError, ask, type Piece, type Question, type TokenInfo, type Usage } from './ask.js';

export type Run = {
  readonly status: 'idle' | 'running' | 'done' | 'stopped' | 'failed';
  readonly pieces: readonly Piece[];
  /** From the question to the first piece, and to the end or now, ms. */
  readonly firstMs: number | null;
  readonly totalMs: number;
  readonly usage: Usage | null;
  /** Why it ended, or what went wrong. */
  readonly reason: string;
};

export const noRun: Run = { status: 'idle', pieces: [], firstMs: null, totalMs: 0, usage: null, reason: '' };

export const textOf = (run: Run): string => run.pieces.map(({ text }) => text).join('');

/** Runs a question to its end, which the result tells; `show` gets the state as it grows, once a frame at most. */
export async function runToEnd(
  question: Question,
  key: string,
  signal: AbortSignal,
  show: (run: Run) => void,
): Promise<Run> {
  const started = performance.now();
  const pieces: Piece[] = [];
  let run: Run = { ...noRun, status: 'running' };
  let isDue = false;
  const refresh = (change: Partial<Run>): Run => {
    run = { ...run, ...change, pieces: [...pieces], totalMs: performance.now() - started };
    return run;
  };
  const showSoon = () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      if (run.status === 'running') show(refresh({}));
    });
  };
  show(run);
  try {
    for await (const event of ask(question, key, signal)) {
      if (event.kind === 'piece') {
        pieces.push(event.piece);
        if (run.firstMs === null) refresh({ firstMs: performance.now() - started });
        showSoon();
      } else refresh(event.kind === 'usage' ? { usage: event.usage } : { reason: event.reason });
    }
    refresh({ status: 'done' });
  } catch (error) {
    if (signal.aborted) refresh({ status: 'stopped', reason: 'stopped' });
    else refresh({ status: 'failed', reason: reasonOf(error) });
  }
  show(run);
  return run;
}

export const reasonOf = (error: unknown): string =>
  error instanceof AskError ? error.message : `The server can't be reached (${String(error)}).`;

/** Gives each run of a component a signal of its own; the last one ends with the component. */
export function useAbort(): { readonly begin: () => AbortSignal; readonly stop: () => void } {
  const current = useRef<AbortController | null>(null);
  const stop = () => current.current?.abort();
  useEffect(() => stop, []);
  const begin = () => {
    stop();
    current.current = new AbortController();
    return current.current.signal;
  };
  return { begin, stop };
}

const percent = (logprob: number): string => `${(Math.exp(logprob) * 100).toFixed(1)} %`;
/** Spaces and line breaks can't be seen as tokens. */
const visible = (text: string): string => text.replaceAll(' ', '␣').replaceAll('\n', '↵');

/** Five shades, from certain to unlikely. */
function shadeOf({ tokens }: Piece): string {
  const logprob = tokens[0]?.logprob ?? 0;
  return `p${[0.9, 0.6, 0.3, 0.1].filter((bound) => Math.exp(logprob) < bound).length}`;
}

function TokenTable({ token }: { readonly token: TokenInfo }): JSX.Element {
  const rows = token.alternatives.some(({ text }) => text === token.text)
    ? token.alternatives
    : [{ text: token.text, logprob: token.logprob ?? 0 }, ...token.alternatives];
  return (
    <table class="token">
      <caption>
        <code>{visible(token.text)}</code> {token.logprob === null ? '' : percent(token.logprob)}
      </caption>
      <tbody>
        {rows.map(({ text, logprob }) => (
          <tr key={text} class={text === token.text ? 'taken' : ''}>
            <th scope="row">
              <code>{visible(text)}</code>
            </th>
            <td>
              <meter value={Math.exp(logprob)} aria-label={`probability of ${visible(text)}`} />
            </td>
            <td class="number">{percent(logprob)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The probabilities of a place in the answer, chosen by pointing at it or with the slider. */
function TokenDetails(props: {
  readonly pieces: readonly Piece[];
  readonly chosen: number;
  readonly choose: (index: number) => void;
}): JSX.Element {
  const { pieces, choose } = props;
  const chosen = Math.min(props.chosen, pieces.length - 1);
  const piece = pieces[chosen];
  const said = piece?.tokens.map(({ text, logprob }) => `${visible(text)} ${logprob === null ? '' : percent(logprob)}`);
  return (
    <div class="details">
      <label>
        Token {chosen + 1} of {pieces.length}
        <input
          type="range"
          min="1"
          max={pieces.length}
          value={chosen + 1}
          aria-valuetext={said?.join(', ')}
          onInput={(event) => choose(Number(event.currentTarget.value) - 1)}
        />
      </label>
      {piece?.tokens.map((token, i) => (
        <TokenTable key={i} token={token} />
      ))}
    </div>
  );
}

/** The text of a run; with probabilities each token is shaded, and tells its alternatives. */
export function AnswerText({ run }: { readonly run: Run }): JSX.Element {
  const [chosen, choose] = useState(0);
  const hasTokens = run.pieces.some(({ tokens }) => tokens.length > 0);
  const point = (event: { readonly target: EventTarget | null }) => {
    const index = event.target instanceof HTMLElement ? event.target.dataset.index : undefined;
    if (index !== undefined) choose(Number(index));
  };
  return (
    <>
      <p class="answer" onPointerOver={point}>
        {hasTokens
          ? run.pieces.map((piece, i) => (
              <span key={i} data-index={i} class={`${shadeOf(piece)}${i === chosen ? ' chosen' : ''}`}>
                {piece.text}
              </span>
            ))
          : textOf(run)}
      </p>
      {hasTokens && <TokenDetails pieces={run.pieces} chosen={chosen} choose={choose} />}
    </>
  );
}

/** Three digits of what is much less than a cent, written out. */
const money = (amount: number): string => {
  const digits = amount > 0 ? Math.min(15, Math.max(2, 2 - Math.floor(Math.log10(amount)))) : 2;
  return amount.toFixed(digits);
};

/** Tokens per second between the first token and the end; null before two tokens are there. */
export function speedOf({ usage, firstMs, totalMs }: Run): number | null {
  const tokens = (usage?.completion_tokens ?? 0) - 1;
  return firstMs === null || tokens < 1 ? null : tokens / Math.max(1e-3, (totalMs - firstMs) / 1000);
}

export function energyText({ usage }: Run): string {
  const cost = usage?.nibble_cost;
  if (cost === undefined) return '';
  const price = cost.price === undefined ? '' : ` · ${money(cost.price.total)} ${cost.price.currency}`;
  return `${cost.joules.toPrecision(3)} J (${cost.source === 'tdp' ? 'estimated' : cost.source})${price}`;
}

/** One line about a run that ended or goes on. */
export function statusText(run: Run): string {
  if (run.status === 'idle') return '';
  if (run.status === 'failed') return `Failed: ${run.reason}`;
  if (run.status === 'running') return 'Generating…';
  const { usage, firstMs } = run;
  const speed = speedOf(run);
  const cached = usage?.prompt_tokens_details?.cached_tokens ?? 0;
  const parts = [
    run.status === 'stopped' ? 'Stopped' : `Done (${run.reason})`,
    ...(usage === null ? [] : [`${usage.prompt_tokens} + ${usage.completion_tokens} tokens`]),
    ...(cached > 0 ? [`${cached} from the cache`] : []),
    ...(firstMs === null ? [] : [`first after ${firstMs.toFixed(0)} ms`]),
    ...(speed === null ? [] : [`${speed.toFixed(0)} tokens/s`]),
    energyText(run),
  ];
  return parts.filter((part) => part !== '').join(' · ');
}
