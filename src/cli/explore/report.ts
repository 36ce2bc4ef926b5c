/** The report of an exploration: the front in several linked views, what it rests on, and the CPU beside it. */
import { joulesOf } from '../../cost/accelerators/types.js';
import { linkedScript, linkedStyle } from '../../report/linked.js';
import { renderFacts, renderFigure, renderPage, renderPlots, renderTable } from '../../report/page.js';
import { drawScatter, palette, renderFilter, type ScatterItem } from '../../report/scatter.js';
import { describeSpace } from './files.js';
import { designCells, designHeads, knownCells, knownHeads, recipeCells, recipeHeads } from './present.js';
import type { Exploration, FrontPoint } from './result.js';

const tagsOf = ({ choice }: FrontPoint) => ({ element: choice.element, recipe: choice.recipe });

/** The table's cells under their heads, a line each. */
function titleOf(exploration: Exploration, point: FrontPoint): string {
  const cells = designCells(exploration, point);
  return designHeads.map((head, i) => `${head}: ${cells[i] ?? ''}`).join('\n');
}

type View = {
  readonly x: string;
  readonly y: string;
  readonly at: (point: FrontPoint) => readonly [x: number, y: number];
  readonly caption: string;
};

function viewsOf({ recipes }: Exploration): readonly View[] {
  const errors = new Map(recipes.map(({ recipe, fidelity }) => [recipe.name, fidelity.klMean]));
  const error = ({ choice }: FrontPoint) => errors.get(choice.recipe) ?? 0;
  const joules = ({ evaluation }: FrontPoint) => joulesOf(evaluation.energy);
  const [seconds, energy, area, kl] = ['seconds', 'joules', 'area, mm²', 'KL divergence, nats'] as const;
  return [
    {
      ...{ x: seconds, y: energy, at: (point) => [point.evaluation.seconds, joules(point)] },
      caption: 'Energy against time of the whole workload (simulated).',
    },
    {
      ...{ x: energy, y: kl, at: (point) => [joules(point), error(point)] },
      caption: 'Measured error of the recipe against simulated energy; no error at all is drawn lowest.',
    },
    {
      ...{ x: seconds, y: area, at: (point) => [point.evaluation.seconds, point.evaluation.areaMm2] },
      caption: 'Area of array and buffers against time (simulated).',
    },
    {
      ...{ x: area, y: kl, at: (point) => [point.evaluation.areaMm2, error(point)] },
      caption: 'Measured error of the recipe against simulated area; no error at all is drawn lowest.',
    },
  ];
}

function plots(exploration: Exploration, colors: ReadonlyMap<string, string>): string {
  const figures = viewsOf(exploration).map(({ x, y, at, caption }) => {
    const items = exploration.front.map((point): ScatterItem => {
      const [left, up] = at(point);
      const color = colors.get(point.choice.element) ?? 'gray';
      return { id: point.id, x: left, y: up, color, title: titleOf(exploration, point), tags: tagsOf(point) };
    });
    return renderFigure(drawScatter(items, { x, y }), caption);
  });
  return renderPlots(figures);
}

function facts(exploration: Exploration): string {
  const { workload, machine, recipes, data, points, pointsPerMinute } = exploration;
  const { batch, promptTokens, outputTokens } = workload;
  const energy = recipes.flatMap(({ cpu }) => (cpu === null ? [] : [cpu.source]))[0] ?? 'not measured';
  return renderFacts([
    ['workload', `${batch} sequences of ${promptTokens} prompt and ${outputTokens} generated tokens`],
    ['space', describeSpace(exploration.space)],
    ['designs', `${points}, at ${(pointsPerMinute / 1e6).toPrecision(2)} million a minute`],
    [
      'errors',
      `of ${exploration.model}, measured on this machine, ${data === null ? 'on text that the model wrote' : `on ${data}`}`,
    ],
    ['machine', `${machine.cpu}, ${machine.isa}, ${machine.threads} threads`],
    ['energy of the CPU', energy],
    ['version', exploration.commit],
    ['command', exploration.command],
  ]);
}

/** The whole report. Every text from outside is escaped. */
export function renderExploration(exploration: Exploration): string {
  const { front, frontPoints, known, points, recipes, shape, date } = exploration;
  const elements = [...new Set(front.map(({ choice }) => choice.element))];
  const colors = new Map(elements.map((name, i) => [name as string, palette[Math.min(i, palette.length - 1)] ?? '']));
  const names = [...new Set(front.map(({ choice }) => choice.recipe))];
  const shown = front.length < frontPoints ? `${front.length} of ${frontPoints}` : String(frontPoints);
  const body = `<p>Of ${points} simulated designs ${shown} are shown that no other beats in time, energy, area and
error at once. Times, energies and areas of designs are <strong>simulated</strong>; errors of recipes, and the figures
of the CPU, are <strong>measured</strong>. Hovering a design shows it everywhere; a click keeps it.</p>
${renderFilter(
  'element',
  'element',
  elements.map((value) => ({ value, color: colors.get(value) ?? '' })),
)}
${renderFilter(
  'recipe',
  'recipe',
  names.map((value) => ({ value })),
)}
${plots(exploration, colors)}
<h2>Recipes of the front that this server runs</h2>
${renderTable(recipeHeads, recipes.map(recipeCells))}
<p class="soft">Quantized quickly, by rounding to nearest: <code>nibble quantize</code> loses less. CPU: the same
workload on this machine, from measured rates of prefill and decode.</p>
<h2>Designs</h2>
${renderTable(
  designHeads,
  front.map((point) => designCells(exploration, point)),
  front.map((point) => ({ id: point.id, tags: tagsOf(point) })),
)}
<h2>Published accelerators as they are</h2>
${renderTable(knownHeads, known.map(knownCells))}
<p class="soft">Simulated on the same workload, each with operands of its own widths, and as large as it was
published.</p>
<h2>How it was found</h2>
${facts(exploration)}`;
  return renderPage({
    ...{ title: `Accelerators for ${shape}`, lead: `Simulated hardware, measured errors. ${date}`, body },
    ...{ script: linkedScript, style: linkedStyle },
  });
}
