import type { Calibrates } from '../../src/native/contract.js';

/** For stand-ins that compute nothing: there is nothing to observe. */
export class FakeCalibration implements Calibrates {
  startCalibration(): never {
    throw new Error('a stand-in is not calibrated');
  }
  takeStatistics(): never {
    throw new Error('a stand-in has no statistics');
  }
  endCalibration(): void {}
}
