// A level meter that remembers: the loudness of the last seconds, from the button outwards.

const STEP = 5; // px from one bar to the next
const THICK = 2.5;
const EVERY_MS = 50;

export class Ribbon {
  /** `canvas` draws in its own text colour; `leftwards` says which way the past goes. */
  constructor(canvas, { leftwards }) {
    this._canvas = canvas;
    this._leftwards = leftwards;
    this._levels = [];
    this._loudest = 0; // since the last bar
    this._still = matchMedia('(prefers-reduced-motion: reduce)');
    this._timer = null;
    new ResizeObserver(() => this._draw()).observe(canvas);
    const dark = matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', () => this._draw());
  }

  /** How loud it is now, from 0 to 1. */
  level(value) {
    this._loudest = Math.max(this._loudest, value);
    if (this._timer === null && value > 0) this._timer = setInterval(() => this._step(), EVERY_MS);
  }

  _step() {
    const most = Math.ceil(this._canvas.clientWidth / STEP) + 1;
    this._levels = [this._loudest, ...this._levels].slice(0, most);
    this._loudest = 0;
    if (this._levels.every((level) => level === 0)) {
      clearInterval(this._timer);
      this._timer = null;
    }
    this._draw();
  }

  _draw() {
    const { clientWidth: width, clientHeight: height } = this._canvas;
    const scale = devicePixelRatio;
    this._canvas.width = width * scale;
    this._canvas.height = height * scale;
    const pen = this._canvas.getContext('2d');
    pen.scale(scale, scale);
    pen.fillStyle = getComputedStyle(this._canvas).color;
    for (let bar = 0; bar * STEP + THICK <= width; bar++) {
      // those who want no motion see one level, and no wave that runs
      const level = (this._still.matches ? this._levels[0] : this._levels[bar]) ?? 0;
      const tall = THICK + level ** 1.5 * (height - THICK);
      const x = this._leftwards ? width - bar * STEP - THICK : bar * STEP;
      pen.globalAlpha = (level > 0 ? 1 : 0.3) * (1 - (bar * STEP) / width) ** 0.8;
      pen.beginPath();
      pen.roundRect(x, (height - tall) / 2, THICK, tall, THICK / 2);
      pen.fill();
    }
  }
}
