import { type Command, Option } from 'commander';
import { describeSetting, type SettingKey } from '../config.js';

/** Adds the options of these settings, and `--config`. Values stay text: src/config.ts reads and checks them. */
export function addSettingOptions(command: Command, keys: readonly SettingKey[]): Command {
  for (const key of keys) {
    const setting = describeSetting(key);
    const flags = setting.isSwitch ? setting.flag : `${setting.flag} <value>`;
    const notes = `${setting.description} (${setting.env}; default ${setting.fallback})`;
    command.addOption(new Option(flags, notes.replaceAll('`', '')));
    if (setting.alias === null) continue;
    command.addOption(new Option(`${setting.alias} <value>`, `The same as ${setting.flag}.`));
    // The later of the two on the command line wins.
    command.on(`option:${setting.alias.slice(2)}`, (value: string) => command.setOptionValue(key, value));
  }
  return command.addOption(new Option('--config <file>', 'JSON file of settings. (NIBBLE_CONFIG)'));
}
