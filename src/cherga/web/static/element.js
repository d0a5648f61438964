/* <cherga-progress job src token> shows how far a background job is. */
(() => {
  const PARTS = ["span description", "span percent", "progress bar", "span status", "span count", "span note", "button cancel"];
  const WAITING = ["scheduled", "ready", "blocked"];
  const WORDS = {}; // put in by the server
  const STREAMS = 2; // of a browser: it has six connections for a site
  const { locks } = navigator; // none over plain HTTP

  // The function that gives the lock back; null where it is not to be had.
  const hold = (name, options) => new Promise((take) => {
    const none = () => take(null);
    locks.request(name, options, (lock) => lock && new Promise((free) => take(free))).then(none, none);
  });

  class ChergaProgress extends HTMLElement {
    #after = 0; // the last position
    #etag = "";
    #mode; // as announced
    #wait = 0; // until the next look
    #misses = 0; // failures in a row
    #breaks = 0; // streams lost in a row
    #may; // as its own token allows
    #timer; #request;
    #joined; // waits for the lead, or has it
    #lead; // of all elements of the browser about this job the one that asks
    #channel; #seat;
    #turn = () => document.hidden ? this.#stop() : this.#look();

    connectedCallback() {
      if (!this.firstElementChild && !this.textContent.trim()) this.#furnish();
      if (!this.hasAttribute("role") && !this.querySelector("[role=status]")) this.#set("role", "status");
      for (const part of ["percent", "count", "note"]) { // too often to be read aloud
        for (const node of this.#parts(part)) node.ariaLive = "off";
      }
      for (const node of this.#parts("cancel")) node.onclick = () => this.#cancel();
      if (this.matches("[live=off], [state=succeeded], [state=failed], [state=cancelled]")) return;
      document.addEventListener("visibilitychange", this.#turn);
      this.#turn();
    }

    disconnectedCallback() {
      document.removeEventListener("visibilitychange", this.#turn);
      this.#stop();
    }

    #stop() {
      this.#rest();
      this.#joined?.abort();
      this.#channel?.close();
      this.#lead?.();
      this.#joined = this.#channel = this.#lead = null;
    }

    #rest() {
      clearTimeout(this.#timer);
      this.#request?.abort();
      this.#seat?.();
      this.#request = this.#seat = null;
    }

    // --- sharing

    async #join() {
      const name = `cherga ${this.#address().pathname}`, { signal } = this.#joined = new AbortController();
      this.#channel = new BroadcastChannel(name);
      this.#channel.onmessage = ({ data }) => this.#overhear(...data);
      this.#set("mode", "shared");
      const lead = await hold(name, { signal });
      if (signal.aborted) return lead?.();
      this.#lead = lead ?? (() => {}); // where locks are refused, everybody asks
      this.#go(signal);
    }

    async #go(signal) {
      this.#rest();
      if (this.#mode === "stream" && this.#breaks < 3 && !this.matches("[live=poll]")) {
        for (let each = 1, seat; each <= STREAMS; each++) {
          seat = await hold(`cherga stream ${each}`, { ifAvailable: true });
          if (signal.aborted) return seat?.();
          if (seat) return this.#listen(seat);
        }
      }
      this.#later(this.#wait);
    }

    #overhear(since, news) {
      if (this.#lead) return;
      if (since === this.#after) this.#show({ ...news, may_cancel: this.#may });
      else if (news.position > this.#after) this.#look(); // something was missed
    }

    #tell(news) { // true at the end
      if (this.#lead) this.#channel.postMessage([this.#after, news]);
      return this.#show(news);
    }

    // --- asking

    #ask(accept) { // no EventSource: the token is a header, for addresses are logged
      this.#rest();
      const { signal } = this.#request = new AbortController();
      const address = this.#address();
      address.searchParams.set("after", this.#after);
      return fetch(address, { headers: this.#headers({ Accept: accept, "If-None-Match": this.#etag }), signal });
    }

    #address() {
      return new URL(this.getAttribute("src"), document.baseURI);
    }

    #headers(more) {
      return { ...more, "Cherga-Token": this.getAttribute("token") };
    }

    async #cancel() {
      const address = this.#address();
      address.pathname += "/cancel";
      this.#halt(true);
      const answer = await fetch(address, { method: "POST", headers: this.#headers() }).catch(() => null);
      if (!answer?.ok) this.#halt(false); // and it may be tried again
      else if (!this.matches("[state=succeeded], [state=failed], [state=cancelled]")) this.#look();
    }

    #halt(on) {
      for (const node of this.#parts("cancel")) node.disabled = on;
      if (on) this.#fill("status", this.#word("stopping"));
    }

    async #look() {
      const asked = this.#ask("application/json"), request = this.#request;
      this.#timer = setTimeout(() => request.abort(), 10_000);
      let answer, news;
      try {
        answer = await asked;
        news = answer.ok && await answer.json();
      } catch {}
      if (request === this.#request) this.#hear(answer, news);
    }

    #hear(answer, news) {
      if (news == null || answer.status >= 500 || answer.status === 429) return this.#miss();
      if (answer.status === 404 && this.#misses < 6 && this.matches("[state=held]")) return this.#miss(); // soon to be stored
      if (answer.status >= 400) return this.#stop(); // not ours, or gone
      this.#misses = 0;
      this.#etag = answer.headers.get("ETag");
      if (news) [this.#mode, this.#may] = [news.mode, news.may_cancel];
      this.#wait = news ? news.retry_ms : Math.min(this.#wait * 1.5 + 100, 5_000);
      if (news && this.#tell(news)) return;
      if (!locks) this.#later(this.#wait);
      else if (this.#lead) this.#go(this.#joined.signal);
      else if (this.#joined) this.#set("mode", "shared");
      else this.#join();
    }

    async #listen(seat) {
      const asked = this.#ask("text/event-stream"), request = this.#request;
      const lost = () => request === this.#request && this.#miss(this.#breaks++);
      const expect = (time) => { clearTimeout(this.#timer); this.#timer = setTimeout(lost, time); };
      this.#seat = seat;
      expect(5_000); // proxies may hold it back
      this.#set("mode", "stream");
      try {
        const reader = (await asked).body.pipeThrough(new TextDecoderStream()).getReader();
        for (let text = "", part; !(part = await reader.read()).done;) {
          const lines = (text + part.value).split("\n");
          text = lines.pop();
          for (const line of lines) {
            if (request !== this.#request) return;
            if (!/^(data)?:/.test(line)) continue;
            this.#misses = this.#breaks = 0;
            expect(60_000); // connections die silently
            if (line[0] === "d" && this.#tell(JSON.parse(line.slice(5)))) return;
          }
        }
      } catch {}
      lost();
    }

    #miss() {
      this.#later(Math.min(500 * 2 ** this.#misses++, 30_000) * (0.5 + Math.random()));
    }

    #later(time) {
      this.#rest();
      this.#timer = setTimeout(() => this.#look(), time);
      this.#set("mode", "poll");
    }

    // --- showing

    #show(news) { // true at the end
      const exact = news.state === "succeeded" ? 100 : news.progress?.percent ?? null;
      const percent = exact === null ? null : Math.floor(exact);
      this.#after = news.position;
      this.#set("state", news.state);
      this.#set("percent", percent);
      this.#fill("percent", percent, "{}%");
      this.#fill("count", news.final || !news.progress ? "" : count(news.progress));
      this.#fill("note", news.final ? "" : news.progress?.note);
      this.#fill("message", this.getAttribute(`data-text-${news.state}`) ?? news.message);
      this.#fill("status", this.#status(news));
      if (news.description) this.#fill("description", news.description);
      for (const bar of this.#parts("bar")) {
        if (exact !== null || news.final || WAITING.includes(news.state)) bar.value = bar.max * exact / 100;
        else bar.removeAttribute("value");
      }
      for (const node of this.#parts("cancel")) {
        node.hidden = news.final || !news.may_cancel;
        node.disabled = news.stopping;
      }
      if (news.final) this.disconnectedCallback();
      for (const name of news.final ? ["update", "end"] : ["update"]) {
        this.dispatchEvent(new CustomEvent(`cherga-${name}`, { detail: news, bubbles: true }));
      }
      return news.final;
    }

    #word(name) {
      return this.getAttribute(`data-text-${name}`) ?? WORDS[name];
    }

    #status(news) {
      const name = news.stopping ? "stopping" : news.state;
      const said = news.message && !this.hasAttribute(`data-text-${name}`) ? `: ${news.message}` : "";
      return this.#word(name) + said;
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
      this.#set("look", "usual");
      for (const [tag, part] of PARTS.map((each) => each.split(" "))) {
        const node = this.appendChild(document.createElement(tag));
        node.dataset.cherga = part;
        if (part === "bar") node.max = 100;
        if (part === "cancel") Object.assign(node, { type: "button", hidden: true, textContent: this.#word("cancel") });
        this.append(" ");
      }
    }
  }

  function count({ done, total }) {
    const [some, all] = [done, total].map((number) => number?.toLocaleString(document.documentElement.lang || undefined));
    return total === null ? some : `${some} / ${all}`;
  }

  customElements.get("cherga-progress") || customElements.define("cherga-progress", ChergaProgress);
})();
