/**
 * Answers that repeat parts of their prompt, and answers that don't: what guessing tokens (`--speculate`) gains on the
 * one and costs on the other. Both servers get the same requests in turns, and must give the same text.
 */
import { NibbleError } from '../../../errors.js';
import { Random } from '../../../random.js';
import { createProgress } from '../progress.js';
import { type Scrape, scrape } from '../server-metrics.js';
import { rounded, significant, spread } from '../statistics.js';
import { formatTable } from '../table.js';
import { ROUNDS_DEFAULT, type Workload } from './types.js';

const concurrencyDefault = [1, 4, 16];
const outputDefault = 128;
const reportLines = 12;

const teams = ['harbour', 'library', 'parks', 'schools', 'water', 'transport', 'archive', 'museum'];
const verbs = ['repaired', 'ordered', 'inspected', 'replaced', 'sold', 'painted', 'moved', 'counted'];
const things = ['bridges', 'lamps', 'pumps', 'benches', 'books', 'engines', 'roofs', 'maps'];
const people = ['Anna Berg', 'Omar Haddad', 'Li Wei', 'Maria Lopez', 'Tom Okafor', 'Ines Costa', 'Jan Novak'];
const months = ['January', 'March', 'April', 'June', 'July', 'September', 'October', 'December'];

/** A list to be written again in prose, as the small models at hand do it: by copying much of it. */
function reportPrompt(seed: number): string {
  const random = new Random(seed);
  const pick = (words: readonly string[]): string => words[random.below(words.length)] as string;
  const lines = Array.from({ length: reportLines }, () => {
    const what = `${pick(verbs)} ${2 + random.below(90)} ${pick(things)}`;
    return `- In ${pick(months)} the ${pick(teams)} team ${what} for ${1 + random.below(900)} euros (${pick(people)}).`;
  });
  return `Report of the year:\n${lines.join('\n')}\n\nSummary of the report, with every team, month and sum:\n`;
}

const storyPrompt = (seed: number): string => `The diary of a traveller, day ${seed}.\n\nThis morning`;

const texts = {
  summary: { prompt: reportPrompt, temperature: 0 },
  story: { prompt: storyPrompt, temperature: 1 },
} as const;
type Text = keyof typeof texts;

type Load = { readonly text: Text; readonly clients: number; readonly output: number; readonly seed: number };

async function answer(url: string, { text, output }: Load, seed: number): Promise<string> {
  const { prompt, temperature } = texts[text];
  const body = { model: 'default', prompt: prompt(seed), max_tokens: output, ignore_eos: true, temperature, seed };
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body: JSON.stringify(body) });
  const { choices } = (await response.json()) as { readonly choices?: readonly { readonly text: string }[] };
  const [choice] = choices ?? [];
  if (choice === undefined) throw new NibbleError('bench_failed', { message: `a request got ${response.status}` });
  return choice.text;
}

/** All clients at once, one request each; prompts included in the time. */
async function measure(url: string, load: Load) {
  const start = performance.now();
  const answers = await Promise.all(
    Array.from({ length: load.clients }, (_, client) => answer(url, load, load.seed * 1000 + client)),
  );
  const seconds = (performance.now() - start) / 1e3;
  return { answers, tokensPerS: (load.clients * load.output) / seconds };
}

const guessed = (at: Scrape) => at.sum('vllm:spec_decode_num_draft_tokens_total');
const right = (at: Scrape) => at.sum('vllm:spec_decode_num_accepted_tokens_total');

async function compare(plain: string, guessing: string, load: Omit<Load, 'seed'>, rounds: number) {
  const before = await scrape(guessing);
  const off: number[] = [];
  const on: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const one = { ...load, seed: round + 1 };
    // Who is first takes turns, for the machine may warm up or tire.
    const guessesFirst = round % 2 === 0;
    const early = await measure(guessesFirst ? guessing : plain, one);
    const late = await measure(guessesFirst ? plain : guessing, one);
    if (early.answers.join('\0') !== late.answers.join('\0')) {
      throw new NibbleError('bench_failed', { message: 'guessing has changed an answer' });
    }
    off.push((guessesFirst ? late : early).tokensPerS);
    on.push((guessesFirst ? early : late).tokensPerS);
  }
  const after = await scrape(guessing);
  const guessedTokens = guessed(after) - guessed(before);
  return {
    ...{ text: load.text, concurrency: load.clients },
    offTokensPerS: rounded(spread(off)),
    onTokensPerS: rounded(spread(on)),
    ratio: rounded(spread(on.map((value, i) => value / (off[i] as number)))),
    guessedTokens,
    rightShare: guessedTokens === 0 ? null : significant((right(after) - right(before)) / guessedTokens),
  };
}

export const summarize: Workload = async (host, flags) => {
  const { generate: output = outputDefault, rounds = ROUNDS_DEFAULT } = flags;
  const plain = await host.start();
  const guessing = await host.start(['--speculate', 'ngram']);
  const progress = createProgress();
  const runs = [];
  try {
    const loads = (flags.concurrency ?? concurrencyDefault).flatMap((clients) =>
      (['summary', 'story'] as const).map((text) => ({ text, clients, output })),
    );
    progress.start('summarize', loads.length);
    for (const { url } of [plain, guessing]) await measure(url, { text: 'story', clients: 1, output, seed: 0 });
    for (const [i, load] of loads.entries()) {
      runs.push(await compare(plain.url, guessing.url, load, rounds));
      progress.update(i + 1);
    }
  } finally {
    progress.stop();
    await Promise.all([plain.stop(), guessing.stop()]);
  }
  const rows = runs.map(({ text, concurrency, offTokensPerS, onTokensPerS, ratio, guessedTokens, rightShare }) => [
    ...[text, concurrency, offTokensPerS.median, onTokensPerS.median, ratio.median, `${ratio.min}–${ratio.max}`],
    ...[guessedTokens, rightShare ?? '–'],
  ]);
  const heads = ['text', 'clients', 'tokens/s without', 'with guesses', 'ratio', 'range', 'guessed', 'right'];
  return { text: formatTable(heads, rows), result: { outputTokens: output, rounds, runs } };
};
