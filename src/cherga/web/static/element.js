// <cherga-progress job src token> shows how far a background job is. No dependency, no inline style, no eval.
(() => {
  const PARTS = [["span", "description"], ["progress", "bar"], ["span", "percent"], ["span", "message"]];
  let streams = 0; // open on this page: a browser has six connections for a site, and the page needs some itself

  class ChergaProgress extends HTMLElement {
    #after = 0; // the position seen last
    #etag = "";
    #mode; // as the server announced it
    #wait = 0; // until the next look, as long as nothing changes
    #misses = 0; // failures in a row
    #breaks = 0; // streams in a row that ended without a word
    #timer; #request; #stream;
    #turn = () => document.hidden ? this.#stop() : this.#look();

    connectedCallback() {
      if (!this.firstElementChild && !this.textContent.trim()) this.#furnish();
      if (!this.hasAttribute("role") && !this.querySelector("[role=status]")) this.#set("role", "status");
      for (const node of this.#parts("percent")) node.ariaLive = "off"; // changes too often to be read aloud
      if (this.matches("[live=off], [state=succeeded], [state=failed], [state=cancelled]")) return;
      document.addEventListener("visibilitychange", this.#turn);
      this.#turn();
    }

    disconnectedCallback() {
      document.removeEventListener("visibilitychange", this.#turn);
      this.#stop();
    }

    #stop() {
      clearTimeout(this.#timer);
      this.#request?.abort();
      if (this.#stream) streams--;
      this.#stream?.close();
      this.#request = this.#stream = null;
    }

    // --- asking

    async #look() {
      this.#stop();
      const request = this.#request = new AbortController();
      this.#timer = setTimeout(() => request.abort(), 10_000);
      try {
        const headers = { Accept: "application/json", "If-None-Match": this.#etag };
        const answer = await fetch(this.#address(), { headers, signal: request.signal });
        const news = answer.ok && await answer.json();
        if (request === this.#request) this.#hear(answer, news);
      } catch {
        if (request === this.#request) this.#miss();
      }
    }

    #hear(answer, news) {
      if (answer.status >= 500 || answer.status === 429) return this.#miss();
      if (answer.status >= 400) return this.#stop(); // not ours to watch, or no longer kept
      this.#misses = 0;
      this.#etag = answer.headers.get("ETag");
      this.#mode = news ? news.mode : this.#mode;
      this.#wait = news ? news.retry_ms : Math.min(this.#wait * 1.5 + 100, 5_000);
      if (news && this.#show(news)) return;
      if (this.#mode === "stream" && this.#breaks < 3 && streams < 2 && !this.matches("[live=poll]")) this.#listen();
      else this.#later(this.#wait);
    }

    #listen() {
      const stream = this.#stream = new EventSource(this.#address());
      const lost = () => stream === this.#stream && this.#miss(this.#breaks++);
      const expect = (time) => { clearTimeout(this.#timer); this.#timer = setTimeout(lost, time); };
      const hear = ({ data }) => {
        this.#misses = this.#breaks = 0;
        if (!this.#show(JSON.parse(data))) expect(60_000); // connections can die without a word
      };
      streams++;
      stream.onmessage = hear;
      stream.addEventListener("end", hear);
      stream.onerror = lost;
      expect(5_000); // a proxy may hold streams back
      this.#set("mode", "stream");
    }

    #miss() {
      this.#later(Math.min(500 * 2 ** this.#misses++, 30_000) * (0.5 + Math.random()));
    }

    #later(time) {
      this.#stop();
      this.#timer = setTimeout(() => this.#look(), time);
      this.#set("mode", "poll");
    }

    #address() {
      const address = new URL(this.getAttribute("src"), document.baseURI);
      address.searchParams.set("token", this.getAttribute("token"));
      address.searchParams.set("after", this.#after);
      return address;
    }

    // --- showing

    #show(news) { // true when that was the last of it
      const exact = news.state === "succeeded" ? 100 : news.progress?.percent ?? null;
      const percent = exact === null ? null : Math.floor(exact);
      this.#after = news.position;
      this.#set("state", news.state);
      this.#set("percent", percent);
      this.#fill("percent", percent, "{}%");
      this.#fill("note", news.progress?.note);
      this.#fill("message", this.getAttribute(`data-text-${news.state}`) ?? news.message);
      if (news.description) this.#fill("description", news.description);
      for (const bar of this.#parts("bar")) {
        if (exact === null && !news.final) bar.removeAttribute("value");
        else bar.value = bar.max * exact / 100;
      }
      if (news.final) this.disconnectedCallback();
      for (const name of news.final ? ["update", "end"] : ["update"]) {
        this.dispatchEvent(new CustomEvent(`cherga-${name}`, { detail: news, bubbles: true }));
      }
      return news.final;
    }

    #fill(part, value, form = "{}") {
      for (const node of this.#parts(part)) {
        const text = value == null || value === "" ? "" : (node.dataset.format || form).replace("{}", () => value);
        if (node.textContent !== text) node.textContent = text;
      }
    }

    #parts(name) {
      return this.querySelectorAll(`[data-cherga="${name}"]`);
    }

    #set(name, value) {
      value === null ? this.removeAttribute(name) : this.setAttribute(name, value);
    }

    #furnish() {
      for (const [tag, part] of PARTS) {
        const node = this.appendChild(document.createElement(tag));
        node.dataset.cherga = part;
        if (part === "bar") node.max = 100;
        this.append(" ");
      }
    }
  }

  customElements.get("cherga-progress") || customElements.define("cherga-progress", ChergaProgress);
})();
