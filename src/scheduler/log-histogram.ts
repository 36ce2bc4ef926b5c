/** Counts values in buckets 1 % apart: percentiles of millions of values to within a percent, in little memory. */
export class LogHistogram {
  private readonly counts = new Float64Array(bucketCount);
  private total = 0;
  private sum = 0;

  add(value: number): void {
    this.sum += value;
    const bucket = value <= smallest ? 0 : Math.ceil(Math.log(value / smallest) / step);
    const at = Math.min(bucket, bucketCount - 1);
    this.counts[at] = (this.counts[at] as number) + 1;
    this.total++;
  }

  /** Adds all values of another. */
  addAll(other: LogHistogram): void {
    for (let bucket = 0; bucket < bucketCount; bucket++) {
      this.counts[bucket] = (this.counts[bucket] as number) + (other.counts[bucket] as number);
    }
    this.total += other.total;
    this.sum += other.sum;
  }

  get count(): number {
    return this.total;
  }

  /** Exact; NaN if there is none. */
  get mean(): number {
    return this.sum / this.total;
  }

  /** The value that a share `q` of all is at most; NaN if there is none. */
  quantile(q: number): number {
    let left = Math.max(1, Math.ceil(q * this.total));
    for (let bucket = 0; bucket < bucketCount; bucket++) {
      left -= this.counts[bucket] as number;
      // The middle of the bucket.
      if (left <= 0 && this.total > 0) return smallest * Math.exp((bucket - 0.5) * step);
    }
    return Number.NaN;
  }
}

/** 0.001 to some 10⁹, in the caller's unit. */
const smallest = 1e-3;
const step = Math.log(1.01);
const bucketCount = 2800;
