/** Draws of a plan's ranges, and their seed, where nothing else is said. */
export const DRAWS = 2000;
export const SEED = 1;
