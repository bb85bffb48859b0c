/**
 * Normal draws from a seed: the same seed gives the same futures.
 * In: a seed. Out: a stream of N(0, 1) draws. Next: `performance.ts`, which draws z with it.
 */

/** Stream of draws: sfc32 (C. Doty-Humphrey, PractRand) and the Box-Muller transform. */
export class Noise {
  private state: [number, number, number, number];
  private spare: number | null = null;

  constructor(seed: number) {
    this.state = [0x9e3779b9, 0x243f6a88, 0xb7e15162, seed >>> 0];
    for (let k = 0; k < 16; k++) this.uniform();
  }

  /** Return the next draws. */
  draws(count: number): Float32Array {
    return Float32Array.from({ length: count }, () => this.normal());
  }

  private normal(): number {
    if (this.spare !== null) {
      const spare = this.spare;
      this.spare = null;
      return spare;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  private uniform(): number {
    let [a, b, c, d] = this.state;
    const sum = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    this.state = [a, b, c, d];
    return (sum >>> 0) / 2 ** 32;
  }
}
