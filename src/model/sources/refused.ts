/** Another attempt would end the same. */
export class Refused extends Error {}
