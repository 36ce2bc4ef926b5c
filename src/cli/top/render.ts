/** The screen of `nibble top`. Pure. */
import type { Load } from '../../ui/load.js';
import { printable } from '../printable.js';

const bars = ' ▁▂▃▄▅▆▇█';
const barWidth = 30;

/** The last values as one line of bars, the highest of them full. */
export function sparkline(values: readonly number[], width: number): string {
  const shown = values.slice(-width);
  const top = Math.max(...shown, 1e-9);
  return shown.map((value) => bars[Math.round((value / top) * (bars.length - 1))] ?? ' ').join('');
}

/** In use, kept for prefixes, free. */
function kvBar(used: number, cached: number): string {
  const [full, kept] = [Math.round(used * barWidth), Math.round((used + cached) * barWidth)];
  return `[${'█'.repeat(full)}${'░'.repeat(Math.max(0, kept - full))}${' '.repeat(barWidth - Math.max(full, kept))}]`;
}

const percent = (share: number | null): string => (share === null ? '–' : `${(100 * share).toFixed(0)} %`);
const ms = (seconds: number | null): string => (seconds === null ? '–' : `${(1000 * seconds).toPrecision(3)} ms`);

function energyText({ energy }: Load): string {
  if (energy === null) return 'not measured';
  const { prefill, decode, idle } = energy.watts;
  const each = energy.joulesPerToken === null ? '' : `, ${energy.joulesPerToken.toPrecision(3)} J a token`;
  const parts = `prompts ${prefill.toFixed(1)}, answers ${decode.toFixed(1)}, idle ${idle.toFixed(1)}`;
  const source = energy.source === 'tdp' ? 'estimated' : energy.source;
  return `${(prefill + decode + idle).toFixed(1)} W (${parts}${each}; ${source})`;
}

/**
 * @param loads the last seconds, the newest last
 * @param recent over a few seconds more, for latencies and shares
 * @param columns of the terminal; longer lines are cut
 */
export function renderTop(url: string, loads: readonly Load[], recent: Load, columns: number): string {
  const now = loads.at(-1) ?? recent;
  const history = (read: (load: Load) => number) => sparkline(loads.map(read), Math.max(10, columns - 34));
  const rate = (value: number) => `${value.toFixed(0)} tokens/s`.padEnd(18);
  const { used, cached, total } = now.kvBlocks;
  const lines = [
    `nibble top · ${url}`,
    '',
    `answers     ${rate(now.answerTokensPerS)}${history((load) => load.answerTokensPerS)}`,
    `prompts     ${rate(now.promptTokensPerS)}${history((load) => load.promptTokensPerS)}`,
    `queue       ${now.running} running, ${now.waiting} waiting, a request now waits ${now.queueSeconds.toFixed(1)} s`,
    `KV cache    ${kvBar(used / Math.max(1, total), cached / Math.max(1, total))} ${used} + ${cached} of ${total} blocks`,
    `prefixes    ${percent(recent.hitShare)} of prompt tokens found`,
    `first token ${ms(recent.firstTokenP50)}, 95 %: ${ms(recent.firstTokenP95)}`,
    `next token  ${ms(recent.tokenP50)}, 95 %: ${ms(recent.tokenP95)}`,
    `sequences   ${recent.requestsPerS.toFixed(1)} /s, errors ${recent.errorsPerS.toFixed(1)} /s`,
    `energy      ${energyText(recent)}`,
    '',
    ...now.models.map(
      ({ name, running, waiting, kvUsed, kvCached }) =>
        `${kvBar(kvUsed, kvCached)} ${String(running).padStart(3)} + ${String(waiting).padEnd(3)} ${printable(name)}`,
    ),
  ];
  return `${lines.map((line) => [...line].slice(0, columns).join('')).join('\n')}\n`;
}
