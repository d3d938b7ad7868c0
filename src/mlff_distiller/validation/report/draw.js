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
  var sources = Array.from(document.querySelectorAll("script[data-figure]"));
  var drawn = sources.map(function (source) {
    var figure = JSON.parse(source.textContent);
    return Plotly.newPlot(source.dataset.figure, figure.data, figure.layout, config);
  });
  Promise.all(drawn).then(
    function () { document.body.dataset.figures = String(drawn.length); document.body.dataset.errors = String(errors); },
    function () { document.body.dataset.errors = String(++errors); }
  );
  function fit(width) {
    document.querySelectorAll(".plot").forEach(function (plot) {
      Plotly.relayout(plot, width ? { width: width, autosize: false } : { width: null, autosize: true });
    });
  }
  window.addEventListener("beforeprint", function () { fit(670); });
  window.addEventListener("afterprint", function () { fit(0); });
})();
