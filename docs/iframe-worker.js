/* Browsers start no worker on a page that was opened from a folder: an iframe runs its scripts, so that search works. */
class FrameWorker extends EventTarget {
  constructor(url) {
    super();
    this.frame = document.createElement("iframe");
    this.frame.hidden = true;
    this.ready = new Promise((loaded) => (this.frame.onload = loaded));
    const script = new URL(url, location.href).href;
    this.frame.srcdoc = `<script>
      postMessage = (data) => parent.postMessage(data, "*");
      importScripts = async (...urls) => {
        for (const src of urls)
          await new Promise((onload) => document.body.append(Object.assign(document.createElement("script"), {src, onload})));
      };
    </script><body><script src="${script}"></script>`;
    addEventListener("message", ({source, data}) => {
      if (source === this.frame.contentWindow) this.dispatchEvent(new MessageEvent("message", {data}));
    });
    document.body.append(this.frame);
  }

  async postMessage(data) {
    await this.ready;
    this.frame.contentWindow.dispatchEvent(new MessageEvent("message", {data, source: window}));
  }
}

if (location.protocol === "file:") window.Worker = FrameWorker;
