/** What `serve` knows of energy. */
import type { Logger } from 'pino';
import type { Config } from '../config.js';
import { EnergyMonitor } from '../metering/energy-monitor.js';
import { openMeter } from '../metering/open-meter.js';

/** Begins to measure; null if the settings say no. Throws `config_invalid` if what they name isn't there. */
export function startEnergy(config: Config, logger: Logger): EnergyMonitor | null {
  if (config.energyMeter === 'off') return null;
  const { meter, skipped } = openMeter({
    setting: config.energyMeter,
    wattsPerCore: config.coreWatts,
    onLost: (description) => logger.warn({ meter: description }, 'the energy meter was lost; energy is estimated now'),
  });
  logger.info({ meter: meter.description, source: meter.source, skipped }, 'energy');
  return new EnergyMonitor(meter);
}
