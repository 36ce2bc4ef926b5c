/** The report of a plan: one HTML file. */
import type { Analyzed } from '../../cost/tco/analysis.js';
import { uncertaintiesOf } from '../../cost/tco/uncertain.js';
import { escapeHtml, renderFacts, renderFigure, renderPage, renderTable } from '../../report/page.js';
import { percent } from '../bench/table.js';
import { drawPaid, drawPartNames, drawParts, drawSavings, drawTornado } from './plots.js';
import { money, type Plan, planHeads, planRows, targetText } from './present.js';

/** What is looked at more closely: the cheapest besides the baseline, if possible of those that meet the targets. */
function chosen({ analysis: { outcomes } }: Plan): Analyzed | null {
  const others = outcomes.filter(({ isBaseline }) => !isBaseline);
  const fit = others.filter(({ misses }) => misses.length === 0);
  const [first = null, ...rest] = fit.length > 0 ? fit : others;
  return rest.reduce((best, one) => (best !== null && best.perMonth <= one.perMonth ? best : one), first);
}

export function verdict({ scenario, analysis: { outcomes, best } }: Plan): string {
  const { currency, months, baseline } = scenario;
  const found = outcomes.find(({ name }) => name === best);
  if (found === undefined) {
    const why = outcomes.map((outcome) => `${outcome.name}: ${targetText(outcome)}`);
    return `No option meets the targets. ${why.join('; ')}.`;
  }
  const cheapest = `${percent(found.chances.cheapest)} of the draws`;
  if (found.isBaseline) {
    return `${baseline} stays the cheapest that meets the targets: ${currency} ${money(found.perMonth)} a month (in ${cheapest}).`;
  }
  const month = found.breakEvenMonth === null ? `not within ${months} months` : `in month ${found.breakEvenMonth}`;
  return (
    `${found.name} costs least of those that meet the targets: ${currency} ${money(found.perMonth)} a month, ` +
    `${money(found.savesPerMonth)} less than ${baseline}. It has paid for itself ${month}; it is the cheapest in ` +
    `${cheapest} and saves in ${percent(found.chances.saves)}.`
  );
}

function closer(outcome: Analyzed, currency: string, baseline: string): string {
  const plots = [
    renderFigure(
      drawSavings(outcome, currency),
      `What it saves against ${baseline}, all ranges drawn at once: in ${percent(outcome.chances.saves)} of the draws something.`,
    ),
  ];
  if (outcome.swings.length > 0) {
    const caption = 'What it saves if one figure alone is at the low or at the high end of its range.';
    plots.unshift(renderFigure(drawTornado(outcome, currency), caption));
  }
  return `<h2>What ${escapeHtml(outcome.name)} depends on</h2>${plots.join('')}`;
}

function rangesTable(plan: Plan): string {
  const rows = uncertaintiesOf(plan.scenario).map(({ path, range }) => {
    return [path, String(range.low), String(range.likely), String(range.high)];
  });
  return rows.length === 0 ? '' : `<h2>Ranges</h2>${renderTable(['figure', 'low', 'likely', 'high'], rows)}`;
}

/** The sections of a plan, without the page around them: a report of something else may end with them. */
export function renderPlan(plan: Plan): string {
  const { scenario, analysis } = plan;
  const { currency, months, workload } = scenario;
  const best = chosen(plan);
  const paid = renderFigure(
    drawPaid(analysis.outcomes, currency),
    'Money paid so far, hardware when it is bought. Where a line falls below that of the baseline for good, it has paid for itself.',
  );
  const parts = renderFigure(
    `${drawPartNames()}${drawParts(analysis.outcomes, currency)}`,
    `Where the money goes: the mean of ${months} months, hardware spread over its life, migration over the plan.`,
  );
  return `<p><strong>${escapeHtml(verdict(plan))}</strong></p>
${renderTable(planHeads(currency), planRows(analysis))}
<p class="soft">Targets at the busiest time: ${workload.ttftMs} ms until the first token of 95 % of the requests,
${workload.itlMs} ms between two. Ranges are the 5th and the 95th percentile of ${analysis.draws} draws. Figures are
measured on this machine, simulated by a model of hardware, or stated in the scenario.</p>
<h2>Cost</h2>${parts}${paid}
${best === null ? '' : closer(best, currency, scenario.baseline)}
${rangesTable(plan)}`;
}

export type Origin = { readonly date: string; readonly commit: string; readonly command: string };

export function renderTcoPage(plan: Plan, { date, commit, command }: Origin): string {
  const { scenario, analysis } = plan;
  const facts = renderFacts([
    ['draws', `${analysis.draws}, seed ${analysis.seed}; ranges are triangular and independent`],
    ['version', commit],
    ['command', command],
  ]);
  return renderPage({
    title: scenario.name,
    lead: `${scenario.months} months, compared with ${scenario.baseline}. ${date}`,
    body: `${renderPlan(plan)}<h2>How it was worked out</h2>${facts}`,
  });
}
