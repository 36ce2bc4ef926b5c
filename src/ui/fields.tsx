/** Fields of the forms. */
import type { JSX } from 'preact';
import type { Sampling } from './ask.js';

export const usualSampling: Sampling = { temperature: 0.7, topP: 1, topK: 0, minP: 0, maxTokens: 128, seed: null };

export function NumberField(props: {
  readonly label: string;
  readonly value: number;
  readonly min: number;
  readonly max: number;
  readonly step: number;
  readonly onChange: (value: number) => void;
}): JSX.Element {
  const { label, value, min, max, step, onChange } = props;
  const read = (text: string) => {
    const number = Number(text);
    if (text !== '' && Number.isFinite(number)) onChange(Math.min(max, Math.max(min, number)));
  };
  return (
    <label>
      {label}
      <input
        type="number"
        value={value}
        min={min}
        max={max}
        step={step}
        onChange={(event) => read(event.currentTarget.value)}
      />
    </label>
  );
}

/** The sampling controls. */
export function SamplingFields(props: {
  readonly value: Sampling;
  readonly onChange: (value: Sampling) => void;
}): JSX.Element {
  const { value, onChange } = props;
  const field = (label: string, key: Exclude<keyof Sampling, 'seed'>, min: number, max: number, step: number) => (
    <NumberField
      label={label}
      value={value[key]}
      min={min}
      max={max}
      step={step}
      onChange={(number) => onChange({ ...value, [key]: number })}
    />
  );
  return (
    <fieldset class="row">
      <legend>Sampling</legend>
      {field('Tokens at most', 'maxTokens', 1, 131072, 1)}
      {field('Temperature', 'temperature', 0, 2, 0.1)}
      {field('Top p', 'topP', 0.01, 1, 0.01)}
      {field('Top k (0: all)', 'topK', 0, 1000, 1)}
      {field('Min p', 'minP', 0, 1, 0.01)}
      <label>
        Seed (empty: random)
        <input
          type="text"
          inputMode="numeric"
          pattern="\d{0,15}"
          value={value.seed ?? ''}
          onChange={({ currentTarget: { value: text } }) =>
            onChange({ ...value, seed: /^\d{1,15}$/.test(text) ? Number(text) : null })
          }
        />
      </label>
    </fieldset>
  );
}

export function ModelSelect(props: {
  readonly models: readonly { readonly id: string }[];
  readonly value: string;
  readonly onChange: (id: string) => void;
}): JSX.Element {
  return (
    <label>
      Model
      <select value={props.value} onChange={(event) => props.onChange(event.currentTarget.value)}>
        {props.models.map(({ id }) => (
          <option key={id} value={id}>
            {id}
          </option>
        ))}
      </select>
    </label>
  );
}
