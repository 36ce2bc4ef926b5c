/** The tables of docs/quantization.md, from the schema of recipes and the list of named ones. */
import { layerClasses, recipeSchema, weightFormatInfos } from '../../src/model/recipe-types.js';
import { namedRecipes } from '../../src/quant/named-recipes.js';

type Node = {
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly type?: string;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMaximum?: number;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly patternProperties?: Readonly<Record<string, Node>>;
  readonly required?: readonly string[];
};

const cell = (text: string): string => text.replaceAll('|', '\\|');
const table = (rows: readonly (readonly string[])[]): string =>
  rows.map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n');

function valuesOf(node: Node): string {
  if (node.const !== undefined) return `\`${String(node.const)}\``;
  if (node.enum !== undefined) return node.enum.map((value) => `\`${String(value)}\``).join(', ');
  if (node.exclusiveMaximum !== undefined) return `${node.minimum} ≤ value < ${node.exclusiveMaximum}`;
  if (node.maximum !== undefined) return `${node.minimum} to ${node.maximum}`;
  return node.type ?? '';
}

/** Every field with its path; classes of matrices are spelt out once. */
function fieldRows(node: Node, path: string, isOptional: boolean): string[][] {
  const own = path === '' ? [] : [[`\`${path}\``, valuesOf(node), isOptional ? 'no' : 'yes', node.description ?? '']];
  const below = Object.entries(node.properties ?? {}).flatMap(([name, child]) => {
    const isRepeated = /^(output|gateUp|down)$/.test(name);
    if (isRepeated) return [];
    const shown = name === 'qkv' ? 'CLASS' : name;
    const optional = !(node.required ?? []).includes(name);
    return fieldRows(child, path === '' ? shown : `${path}.${shown}`, optional);
  });
  const layers = Object.values(node.patternProperties ?? {}).flatMap((child) =>
    fieldRows(child, `${path}.NUMBER`, true).slice(0, 2),
  );
  return [...own, ...below, ...layers];
}

function recipeTable(): string {
  const head = ['Field', 'Values', 'Needed', 'Meaning'];
  return table([head, head.map(() => '---'), ...fieldRows(recipeSchema as unknown as Node, '', false)]);
}

function namedRecipesTable(): string {
  const rows = [...namedRecipes].map(([name, { recipe, about }]) => {
    const { qkv, down } = recipe.classes;
    const weights = [...new Set(layerClasses.map((each) => `\`${recipe.classes[each].weights}\``))].join(', ');
    const activations =
      qkv.activations === down.activations ? down.activations : `${qkv.activations}, ${down.activations}`;
    return [`\`${name}\``, `${weights} × \`${activations}\``, recipe.rounding, about];
  });
  const head = ['Recipe', 'Layers', 'Rounding', ''];
  return table([head, head.map(() => '---'), ...rows]);
}

function weightFormatsTable(): string {
  const rows = weightFormatInfos.map(({ name, tensorType, bits, group }) => {
    const isRow = name.endsWith('row');
    const scales = group !== null ? `groups of ${group}` : isRow ? 'a row' : 'none';
    return [`\`${name}\``, String(bits), `${scales}${name.endsWith('a') ? ', affine' : ''}`, String(tensorType)];
  });
  const head = ['Weights', 'Bits', 'Scales', 'GGUF type'];
  return table([head, head.map(() => '---'), ...rows]);
}

/** The page with its tables as they should be: what stands between their marks is replaced. */
export function withTables(page: string): string {
  const tables = { recipes: namedRecipesTable(), formats: weightFormatsTable(), fields: recipeTable() };
  return Object.entries(tables).reduce((text, [name, content]) => {
    const marks = new RegExp(`(<!-- ${name}: begin -->\n)[^]*?(\n<!-- ${name}: end -->)`);
    if (!marks.test(text)) throw new Error(`the page has no place for ${name}`);
    return text.replace(marks, (_all, begin: string, end: string) => `${begin}${content}${end}`);
  }, page);
}
