import type { Command } from 'commander';
import { registerActivations } from './activations.js';
import { registerAgile } from './agile.js';
import { registerAgreement } from './agreement.js';
import { registerChoices } from './choices.js';
import { registerCompare } from './compare/index.js';
import { registerGate } from './gate.js';
import { registerPerplexity } from './perplexity.js';
import { registerPruning } from './pruning.js';
import { registerRecipes } from './recipes.js';
import { registerTeacherForced } from './teacher-forced.js';

/** Adds `nibble eval` and its subcommands; docs/json.md describes what they print with `--json`. */
export function registerEval(program: Command): void {
  const parent = program.command('eval').description('Measure what a model file predicts.');
  registerPerplexity(parent);
  registerActivations(parent);
  registerAgreement(parent);
  registerCompare(parent);
  registerRecipes(parent);
  registerGate(parent);
  registerChoices(parent);
  registerTeacherForced(parent);
  registerAgile(parent);
  registerPruning(parent);
}
