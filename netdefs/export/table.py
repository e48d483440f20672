"""Which function writes which layer type: the whole exporter at a glance."""

from collections.abc import Callable
from typing import Any, NamedTuple

from netdefs.export import convolution, indexing, linear, pointwise, pooling, reduction, resize, shape, slicing
from netdefs.export.graph import Context


class Entry(NamedTuple):
    """The TensorRT class that a layer type is cast to, and the function that writes it."""

    cls: str
    write: Callable[[Context, Any], None]


# By name: the numbers of trt.LayerType differ between versions, and older ones lack some.
LAYERS: dict[str, Entry] = {
    "ACTIVATION": Entry("IActivationLayer", pointwise.activation),
    "CAST": Entry("ICastLayer", pointwise.cast),
    "CONCATENATION": Entry("IConcatenationLayer", shape.concatenation),
    "CONSTANT": Entry("IConstantLayer", shape.constant),
    "CONVOLUTION": Entry("IConvolutionLayer", convolution.convolution),
    "DECONVOLUTION": Entry("IDeconvolutionLayer", convolution.deconvolution),
    "ELEMENTWISE": Entry("IElementWiseLayer", pointwise.elementwise),
    "GATHER": Entry("IGatherLayer", indexing.gather),
    "IDENTITY": Entry("IIdentityLayer", pointwise.identity),
    "MATRIX_MULTIPLY": Entry("IMatrixMultiplyLayer", linear.matrix_multiply),
    "PADDING": Entry("IPaddingLayer", slicing.padding),
    "PARAMETRIC_RELU": Entry("IParametricReLULayer", pointwise.parametric_relu),
    "POOLING": Entry("IPoolingLayer", pooling.pooling),
    "REDUCE": Entry("IReduceLayer", reduction.reduce),
    "RESIZE": Entry("IResizeLayer", resize.resize),
    "SCALE": Entry("IScaleLayer", pointwise.scale),
    "SELECT": Entry("ISelectLayer", pointwise.select),
    "SHAPE": Entry("IShapeLayer", shape.shape_of),
    "SHUFFLE": Entry("IShuffleLayer", shape.shuffle),
    "SLICE": Entry("ISliceLayer", slicing.slicing),
    "SOFTMAX": Entry("ISoftMaxLayer", reduction.softmax),
    "TOPK": Entry("ITopKLayer", reduction.topk),
    "UNARY": Entry("IUnaryLayer", pointwise.unary),
}
