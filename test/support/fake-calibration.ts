import type { Calibrates } from '../../src/native/contract.js';
import type { StudiesInputs } from '../../src/native/input-study.js';

/** For stand-ins that compute nothing: there is nothing to observe. */
export class FakeCalibration implements Calibrates, StudiesInputs {
  startCalibration(): never {
    throw new Error('a stand-in is not calibrated');
  }
  takeStatistics(): never {
    throw new Error('a stand-in has no statistics');
  }
  endCalibration(): void {}
  studyInput(): never {
    throw new Error('the fake has no inputs to study');
  }
  inputRanges(): never {
    throw new Error('the fake has no inputs to study');
  }
}
