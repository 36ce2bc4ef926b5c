/** Every published figure that the models are held against. */
import { checkLut } from './lut.js';
import { checkMixpe } from './mixpe.js';
import { checkTender } from './tender.js';
import type { Check } from './types.js';

export const checkAll = (): readonly Check[] => [...checkMixpe(), ...checkTender(), ...checkLut()];

export { lutParameters } from './lut.js';
export { agrees, type Check, errorOf } from './types.js';
