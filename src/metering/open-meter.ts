/** Finds the best meter that this machine has. */
import { horowitz45nm } from '../cost/energy-table.js';
import { configInvalid } from '../errors.js';
import { CpuTimeMeter } from './cpu-time.js';
import { ExternalMeter, parseExternal } from './external.js';
import { openHwmon } from './hwmon.js';
import { openRapl } from './rapl.js';
import { type EnergySource, isUnavailable, type Meter, type Unavailable } from './types.js';
import { WorkTableMeter } from './work-table.js';

/** A sensor that can go away. */
interface Sensor extends Meter {
  readonly isLost: boolean;
}

export type MeterOptions = {
  /** `auto`, `rapl`, `hwmon`, `modelled`, `tdp`, or what `parseExternal` reads. */
  readonly setting: string;
  /** For `tdp`, and for whatever sensor is lost. */
  readonly wattsPerCore: number;
  /** Whether steps will be told to it, by an EnergyMonitor: `modelled` counts nothing else. */
  readonly hearsOfSteps?: boolean;
  /** A tree like /sys. */
  readonly root?: string;
  /** Milliseconds of a monotonic clock. */
  readonly now?: () => number;
  /** Told, in words for the operator, when the sensor goes. */
  readonly onLost?: (description: string) => void;
};

/** A sensor that is followed by an estimate once it is lost, from where it left off. */
class ReplacedMeter implements Meter {
  private sensor: Sensor | null;
  private estimate: Meter | null = null;
  private readonly options: MeterOptions;
  private before = 0;
  private text: string;

  constructor(sensor: Sensor, options: MeterOptions) {
    this.sensor = sensor;
    this.options = options;
    this.text = sensor.description;
  }

  get source(): EnergySource {
    return this.sensor === null ? 'tdp' : this.sensor.source;
  }

  get description(): string {
    return this.text;
  }

  get hasNews(): boolean {
    // One that is lost has no more news of its own.
    return this.sensor === null || this.sensor.isLost || this.sensor.hasNews !== false;
  }

  joules(): number {
    if (this.sensor !== null) {
      const joules = this.sensor.joules();
      if (!this.sensor.isLost) return joules;
      this.replace(joules);
    }
    return this.before + (this.estimate?.joules() ?? 0);
  }

  private replace(joules: number): void {
    this.sensor?.close();
    this.sensor = null;
    this.before = joules;
    this.estimate = new CpuTimeMeter(this.options.wattsPerCore);
    this.options.onLost?.(this.text);
    this.text = `${this.estimate.description}, since ${this.text} was lost`;
  }

  close(): void {
    this.sensor?.close();
    this.estimate?.close();
  }
}

/**
 * `auto`: RAPL, else a sensor of the board, else CPU time. What is asked for by name must be there: throws
 * `config_invalid` otherwise. `skipped` tells why better meters weren't taken.
 */
export function openMeter(options: MeterOptions): { readonly meter: Meter; readonly skipped: readonly string[] } {
  const { setting, root = '/sys', now = () => performance.now(), wattsPerCore } = options;
  const skipped: string[] = [];
  const take = (found: Sensor | Unavailable): Meter | null => {
    if (!isUnavailable(found)) return new ReplacedMeter(found, options);
    if (setting !== 'auto') throw configInvalid('energyMeter', found.reason);
    skipped.push(found.reason);
    return null;
  };
  const estimate = () => new CpuTimeMeter(wattsPerCore);
  switch (setting) {
    case 'auto':
      return { meter: take(openRapl(root)) ?? take(openHwmon(root, now)) ?? estimate(), skipped };
    case 'rapl':
      return { meter: take(openRapl(root)) ?? estimate(), skipped };
    case 'hwmon':
      return { meter: take(openHwmon(root, now)) ?? estimate(), skipped };
    case 'tdp':
      return { meter: estimate(), skipped };
    case 'modelled': {
      const message = 'modelled: this command counts no steps';
      if (options.hearsOfSteps !== true) throw configInvalid('energyMeter', message);
      return { meter: new WorkTableMeter(horowitz45nm), skipped };
    }
    default:
      return { meter: new ReplacedMeter(new ExternalMeter(parseExternal(setting), now), options), skipped };
  }
}
