// The microphone: Int16 frames of 20 ms at 24 kHz, without what the speaker says.

export class Microphone {
  /** `onframe` is called with the samples and their loudness from 0 to 1; `onlost` when the
   * microphone is gone. */
  constructor(context, onframe, onlost) {
    this._context = context;
    this._onframe = onframe;
    this._onlost = onlost;
    this._node = null;
    this._source = null;
    this._stream = null;
  }

  get open() {
    return this._stream !== null;
  }

  /** Asks for the microphone, another one if it is open. Throws a sentence for a person. */
  async start(deviceId) {
    const stream = await ask(deviceId);
    if (this._node === null) {
      await this._context.audioWorklet.addModule(new URL('capture-worklet.js', import.meta.url));
      this._node = new AudioWorkletNode(this._context, 'capture', {
        numberOfOutputs: 0,
        channelCount: 1,
        channelCountMode: 'explicit',
      });
      this._node.port.onmessage = ({ data }) => this._stream && this._onframe(data);
    }
    this.stop();
    this._stream = stream;
    for (const track of stream.getTracks()) track.onended = () => this._lost();
    this._source = this._context.createMediaStreamSource(stream);
    this._source.connect(this._node);
  }

  /** A muted microphone goes on and hears silence. */
  mute(muted) {
    for (const track of this._stream?.getTracks() ?? []) track.enabled = !muted;
  }

  /** Gives the microphone back. */
  stop() {
    this._source?.disconnect();
    for (const track of this._stream?.getTracks() ?? []) track.stop();
    this._stream = this._source = null;
  }

  _lost() {
    this.stop();
    this._onlost();
  }
}

const REASONS = {
  NotAllowedError: 'The browser does not let this page use the microphone. Allow it and try again.',
  NotFoundError: 'There is no microphone.',
  OverconstrainedError: 'The microphone chosen in the settings is not there.',
  NotReadableError: 'The microphone is used by another program.',
};

async function ask(deviceId) {
  const audio = {
    echoCancellation: true,
    noiseSuppression: true,
    autoGainControl: true,
    ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
  };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    throw new Error(REASONS[error.name] ?? `The microphone cannot be used: ${error.message}`, {
      cause: error,
    });
  }
}
