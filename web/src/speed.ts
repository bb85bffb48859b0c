/** Frames per second that are shown, and the time that the networks take for one. */
import type { Texts } from "./language";

const KEPT = 24;
/** Milliseconds without a picture after which the puppet rests. */
const RESTING_MS = 700;

export class Speed {
  private times: number[] = [];
  private spent: number[] = [];
  private lastUpdate = 0;

  constructor(
    private readonly place: HTMLElement,
    private readonly texts: Texts,
  ) {
    setInterval(() => this.update(), RESTING_MS);
    texts.whenever(() => this.update());
  }

  /** Note a picture that was shown just now. */
  note(milliseconds: number): void {
    const now = performance.now();
    if (now - (this.times.at(-1) ?? 0) > RESTING_MS) this.times = [];
    this.times = [...this.times, now].slice(-KEPT);
    this.spent = [...this.spent, milliseconds].slice(-KEPT);
    if (now - this.lastUpdate > 250) this.update();
  }

  get framesPerSecond(): number {
    const [first, last] = [this.times[0], this.times.at(-1)!];
    return this.times.length > 1 ? (1000 * (this.times.length - 1)) / (last - first) : 0;
  }

  get milliseconds(): number {
    return this.spent.reduce((sum, value) => sum + value, 0) / Math.max(1, this.spent.length);
  }

  private update(): void {
    this.lastUpdate = performance.now();
    if (this.spent.length === 0) return;
    const rests = performance.now() - (this.times.at(-1) ?? 0) > RESTING_MS;
    const rate = rests ? this.texts.of("resting") : `${this.framesPerSecond.toFixed(0)} ${this.texts.of("fps")}`;
    this.place.textContent = `${rate} · ${this.milliseconds.toFixed(0)} ${this.texts.of("each")}`;
  }
}
