// Draws every figure from the JSON beside it, and says on <body> how that went (read by the tests).
(function () {
  "use strict";
  var errors = 0;
  window.addEventListener("error", function () { document.body.dataset.errors = String(++errors); });
  var config = {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false, // a report never leaves the machine by a slip of the mouse
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg" }
  };
  function chosen(figure, number) {
    var choice = figure.choices[number];
    return { data: choice.data, layout: Object.assign({}, figure.layout, choice.layout) };
  }
  var figures = {};
  var sources = Array.from(document.querySelectorAll("script[data-figure]"));
  var drawn = sources.map(function (source) {
    var figure = figures[source.dataset.figure] = JSON.parse(source.textContent);
    var shown = figure.choices ? chosen(figure, 0) : figure;
    return Plotly.newPlot(source.dataset.figure, shown.data, shown.layout, config);
  });
  Promise.all(drawn).then(
    function () { document.body.dataset.figures = String(drawn.length); document.body.dataset.errors = String(errors); },
    function () { document.body.dataset.errors = String(++errors); }
  );
  function choose(list) {
    var name = list.dataset.choose, shown = chosen(figures[name], list.selectedIndex);
    Plotly.react(name, shown.data, shown.layout, config);
    document.querySelectorAll('[data-chosen="' + name + '"]').forEach(function (text, number) {
      text.hidden = number !== list.selectedIndex;
    });
  }
  document.querySelectorAll("select[data-choose]").forEach(function (list) {
    list.addEventListener("change", function () { choose(list); });
  });
  document.querySelectorAll("a[data-choice]").forEach(function (link) {
    link.addEventListener("click", function () {
      var list = document.getElementById(link.hash.slice(1));
      list.selectedIndex = Number(link.dataset.choice);
      choose(list);
    });
  });
  function fit(width) {
    document.querySelectorAll(".plot").forEach(function (plot) {
      Plotly.relayout(plot, width ? { width: width, autosize: false } : { width: null, autosize: true });
    });
  }
  window.addEventListener("beforeprint", function () { fit(670); });
  window.addEventListener("afterprint", function () { fit(0); });
})();
