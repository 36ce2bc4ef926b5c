/**
 * Sensors of the hwmon class: power meters of boards (INA chips, ACPI power meters).
 * Only chips that are known to see the CPU or the whole board are used: a graphics card has the same files.
 */
import { join } from 'node:path';
import { listFolder, readCount, readWord, SensorError } from './sensor-file.js';
import type { Meter, Unavailable } from './types.js';

const boardChips = /^(ina2\d\d|ina3221|power_meter|acpi_power_meter|isl28022|ltc2945|ltc4151)$/;
/** Inputs that contain all others of their chip: the supply of a Jetson module. */
const wholeBoard = /^(VDD_IN|POM_5V_IN|VIN_SYS_5V0|5V_IN)$/i;

type Gauge = { readonly label: string; readonly watts: () => number };

/** Channels of one chip, each as watts: `powerN_input` (µW), else `inN_input` (mV) times `currN_input` (mA). */
function gaugesOf(folder: string, chip: string): readonly Gauge[] {
  const files = listFolder(folder);
  const gauges = files.flatMap((file): readonly Gauge[] => {
    const power = /^power(\d+)_(input|average)$/.exec(file);
    if (power !== null) {
      if (power[2] === 'average' && files.includes(`power${power[1]}_input`)) return [];
      const label = readWord(join(folder, `power${power[1]}_label`)) ?? chip;
      return [{ label, watts: () => readCount(join(folder, file)) * 1e-6 }];
    }
    const current = /^curr(\d+)_input$/.exec(file);
    const channel = current?.[1];
    if (channel === undefined || files.includes(`power${channel}_input`) || !files.includes(`in${channel}_input`))
      return [];
    const volts = join(folder, `in${channel}_input`);
    const amperes = join(folder, file);
    const label = readWord(join(folder, `in${channel}_label`)) ?? `${chip} ${channel}`;
    return [{ label, watts: () => readCount(volts) * readCount(amperes) * 1e-6 }];
  });
  const whole = gauges.find(({ label }) => wholeBoard.test(label));
  return whole === undefined ? gauges : [whole];
}

/** Integrates watts over time; between two readings power is taken as their mean. */
class PowerMeter implements Meter {
  readonly source = 'measured';
  private readonly gauges: readonly Gauge[];
  private readonly now: () => number;
  private sum = 0;
  private lastWatts: number;
  private lastMs: number;
  isLost = false;

  /** Throws what reading throws. @param now milliseconds of a monotonic clock */
  constructor(gauges: readonly Gauge[], now: () => number) {
    this.gauges = gauges;
    this.now = now;
    this.lastWatts = this.watts();
    this.lastMs = now();
  }

  get description(): string {
    return `hwmon ${this.gauges.map(({ label }) => label).join(', ')}`;
  }

  private watts(): number {
    return this.gauges.reduce((sum, gauge) => sum + gauge.watts(), 0);
  }

  joules(): number {
    if (this.isLost) return this.sum;
    try {
      const watts = this.watts();
      const nowMs = this.now();
      this.sum += ((watts + this.lastWatts) / 2) * Math.max(0, nowMs - this.lastMs) * 1e-3;
      this.lastWatts = watts;
      this.lastMs = nowMs;
    } catch {
      this.isLost = true;
    }
    return this.sum;
  }

  close(): void {}
}

/** The first chip, by the kernel's order, that is known to measure a board. @param root a tree like /sys */
export function openHwmon(root: string, now: () => number): PowerMeter | Unavailable {
  const folder = join(root, 'class/hwmon');
  const chips = listFolder(folder).map((entry) => join(folder, entry));
  const found = chips.find((path) => boardChips.test(readWord(join(path, 'name')) ?? ''));
  if (found === undefined) return { reason: `no power sensor of the board in ${folder}` };
  const gauges = gaugesOf(found, readWord(join(found, 'name')) ?? '');
  if (gauges.length === 0) return { reason: `${found} has no reading of power` };
  try {
    return new PowerMeter(gauges, now);
  } catch (error) {
    if (error instanceof SensorError) return { reason: error.message };
    throw error;
  }
}
