import type { EnergyTable } from '../cost/energy-table.js';
import type { Meter } from './types.js';

/**
 * Work of steps times a table of energies: what the arithmetic and the memory of the table's technology would take.
 * It compares workloads and recipes, and is far less than what a machine draws.
 */
export class WorkTableMeter implements Meter {
  readonly source = 'modelled';
  readonly description: string;
  private picojoules = 0;

  constructor({ source }: EnergyTable) {
    this.description = `work counters × table: ${source}`;
  }

  addWork(picojoules: number): void {
    this.picojoules += picojoules;
  }

  joules(): number {
    return this.picojoules * 1e-12;
  }

  close(): void {}
}
