/** The report of a proof of concept: one HTML file. Prompts and answers are in it only if they are asked for. */
import { escapeHtml, renderFacts, renderFigure, renderPage, renderPlots, renderTable } from '../../report/page.js';
import { drawBars, drawPareto } from '../../report/plots.js';
import { renderPlan } from '../tco/report.js';
import { objectionLines, pocHeads, pocRow, recommendationText } from './present.js';
import type { Poc, PocModel } from './result.js';

function qualityPlot({ models }: Poc): string {
  const points = models.flatMap(({ name, quality, measured: { requestsPerS } }) => {
    if (quality === null) return [];
    const { klMean } = quality.agreement;
    return [
      {
        label: name,
        title: `${name}: ${requestsPerS.toPrecision(3)}/s, ${klMean.toPrecision(3)} nats`,
        x: requestsPerS,
        y: klMean,
      },
    ];
  });
  if (points.length === 0) return '';
  const axes = { x: 'requests per second', y: 'mean KL divergence, nats', better: 'more' as const };
  return renderFigure(drawPareto(points, axes), 'Error against speed; the dashed line joins what nothing beats.');
}

function bars({ models }: Poc, label: string, caption: string, read: (model: PocModel) => number | null): string {
  const rows = models.flatMap((model) => {
    const value = read(model);
    return value === null ? [] : [{ label: model.name, value }];
  });
  return rows.length === 0 ? '' : renderFigure(drawBars(rows, label), caption);
}

function plots(poc: Poc): string {
  const { currency } = poc.plan.scenario;
  return renderPlots(
    [
      qualityPlot(poc),
      bars(poc, 'requests per second', `${poc.streams} prompts at a time.`, ({ measured }) => measured.requestsPerS),
      bars(poc, 'time to the first token, ms (95 %)', 'Prompts one by one.', ({ measured }) => measured.ttftMs.p95),
      bars(poc, 'time between tokens, ms (95 %)', 'Prompts one by one.', ({ measured }) => measured.itlMs.p95),
      bars(poc, 'kJ for 1,000 requests', energyText(poc), ({ measured }) => measured.joulesPerRequest),
      bars(
        poc,
        `${currency} for 1,000 requests`,
        'Energy and hardware of a box that is busy all the time.',
        (model) => {
          return model.pricePerThousand.energy + model.pricePerThousand.hardware;
        },
      ),
    ].filter((plot) => plot !== ''),
  );
}

const sourceWords = { measured: 'measured by', modelled: 'modelled by', tdp: 'estimated by' } as const;

const energyText = ({ energy }: Poc): string =>
  energy === null ? 'not measured' : `Energy is ${sourceWords[energy.source]}: ${energy.meter}.`;

/** What was asked, and what each model answered. */
function answers({ prompts, models }: Poc): string {
  const texts = prompts.map(({ line, input }, i) => {
    const asked =
      typeof input === 'string' ? input : input.map(({ role, content }) => `${role}: ${content}`).join(' ⏎ ');
    const answered = models.map(({ name, measured }) => [name, measured.answers[i]?.text ?? ''] as const);
    return renderFacts([[`line ${line}`, asked], ...answered]);
  });
  return `<h2>Prompts and answers</h2>${texts.join('')}`;
}

function facts(poc: Poc): string {
  const { data, machine, prompts, streams, klMax, models } = poc;
  return renderFacts([
    ['prompts', `${prompts.length} of ${data.path}, sha256 ${data.sha256}`],
    ['answers', `greedy; ${streams} at a time for rates and energy, one by one for latencies`],
    ['quality', `the baseline's answers, read by every model; mean KL at most ${klMax} nats`],
    ['energy', energyText(poc)],
    ['machine', `${machine.cpu}, ${machine.isa}, ${machine.threads} threads`],
    ['files', models.map(({ name, file }) => `${name}: ${file}`).join('; ')],
    ['version', poc.commit],
    ['command', poc.command],
  ]);
}

export function renderPocPage(poc: Poc, includePrompts: boolean): string {
  const { models, plan } = poc;
  const [baseline] = models;
  const objections = objectionLines(poc).map((line) => `<li>${escapeHtml(line)}</li>`);
  const own = poc.isOwnScenario
    ? ''
    : `<p class="soft">The scenario is an example with the token counts of these prompts: give your own with --scenario.</p>`;
  const body = `<p><strong>${escapeHtml(recommendationText(poc))}</strong></p>
${objections.length === 0 ? '' : `<ul>${objections.join('')}</ul>`}
${renderTable(pocHeads(plan.scenario.currency), models.map(pocRow))}
<p class="soft">KL is KL(baseline‖candidate) per token of the baseline's answers, in nats. Same top: share of these
tokens for which both find the same token most likely. Same answers: share of the prompts with the same answer, token
for token. Right: answers that are exactly those of the file.</p>
<h2>Quality, speed, energy</h2>${plots(poc)}
<h2>In the long run: ${escapeHtml(plan.scenario.name)}</h2>${own}${renderPlan(plan)}
${includePrompts ? answers(poc) : ''}
<h2>How it was measured</h2>${facts(poc)}`;
  const title = `${models.length - 1} ${models.length === 2 ? 'candidate' : 'candidates'} on your prompts`;
  return renderPage({ title, lead: `Compared with ${baseline?.name ?? ''}. ${poc.date}`, body });
}
