"""Public names of PyTorch that are left out, by place and reason; `*` stands for anything."""

from __future__ import annotations

from tests.torch_names.not_yet import NOT_YET

__all__ = ["LEFT_OUT", "NOT_YET"]

_COMPLEX = "there are no complex numbers"
_QUANTIZED = "there are no quantised numbers"
_SPARSE = "there are no sparse tensors"
_DTYPE = "numbers of this size are not supported; float32, float64, int32, int64, uint8, bool are"
_KERNELS = "PyTorch's own kernels, called by its other functions"
_DEVICES = "there is one device, the processor"
_ORDER = "the function of nn.functional takes its arguments in another order"
_INPLACE = "the function of nn.functional takes inplace=True"
_NUMBERS = "whole numbers and bits of floats: NumPy's function of x.numpy() has no gradient either"
_SPECIAL = "no layer, loss or distribution here needs it; scipy.special has it, without gradients"
_SIZES = "a tensor keeps its shape: y = x.transpose(0, 1)"
_FACTORS = "cholesky, lu, qr, svd, eigh and solve give what it is used for"
_DEBUG = "mynn.check_grads, the check for values that are not finite in fit, MYNN_DEBUG"

# What is the same for a function and a method.
_SHARED = {
    _COMPLEX: "angle cdouble cfloat chalf conj conj_physical conj_physical_ imag is_conj is_neg "
    "real resolve_conj resolve_neg",
    _QUANTIZED: "dequantize int_repr q_per_channel_axis q_per_channel_scales "
    "q_per_channel_zero_points q_scale q_zero_point qscheme",
    _SPARSE: "resize_as_sparse_ smm sspaddmm",
    "tensors have no strides that could be given": "as_strided_ as_strided_scatter",
    _NUMBERS: "frexp gcd gcd_ lcm lcm_ nextafter histogram",
    _SPECIAL: "i0 i0_ igamma igammac",
    "spectra are complex numbers": "stft istft",
    "how many values there are is not known before": "nonzero_static",
    "deprecated in PyTorch": "geqrf orgqr ormqr lu_solve triangular_solve",
    "of no use outside of PyTorch": "hash_tensor slice_inverse is_distributed is_inference "
    "unsafe_chunk unsafe_split unsafe_split_with_sizes",
}

LEFT_OUT: dict[str, dict[str, str]] = {
    "": {
        **_SHARED,
        _COMPLEX: _SHARED[_COMPLEX] + " adjoint complex complex* polar view_as_complex "
        "view_as_real is_complex",
        _QUANTIZED: _SHARED[_QUANTIZED] + " choose_qparams_optimized fake_quantize_* "
        "fbgemm_* fused_moving_avg_obs_fake_quant qint* quint* quantize* empty_quantized",
        _SPARSE: _SHARED[_SPARSE] + " ccol_indices_copy col_indices_copy crow_indices_copy "
        "indices_copy row_indices_copy values_copy dsmm hsmm hspmm saddmm sparse_* spmm",
        _DTYPE: "bit bits* float4_* float8_* int1 int2 int3 int4 int5 int6 int7 uint1 uint2 uint3 "
        "uint4 uint5 uint6 uint7",
        _ORDER: "batch_norm embedding embedding_bag instance_norm adaptive_max_pool1d "
        "cosine_embedding_loss ctc_loss hinge_embedding_loss kl_div margin_ranking_loss "
        "poisson_nll_loss triplet_margin_loss",
        _INPLACE: "alpha_dropout_ celu_ dropout_ feature_alpha_dropout_ rrelu_ selu_ threshold_",
        _NUMBERS: _SHARED[_NUMBERS] + " histogramdd",
        _FACTORS: "lobpcg lu_unpack",
        _DEBUG: "is_anomaly_* set_anomaly_enabled",
        "strides are chosen by mynn": "empty_permuted empty_strided",
        "the distribution Binomial draws it": "binomial",
        "linalg.norm and linalg.matrix_norm": "frobenius_norm nuclear_norm",
        "mynn.load reads files": "from_file",
        "a function of the module mynn.random": "default_generator",
        _KERNELS: "batch_norm_* cudnn_* miopen_* mkldnn_* affine_grid_generator convolution "
        "constant_pad_nd conv_tbc embedding_renorm_ feature_dropout feature_dropout_ "
        "native_* norm_except_dim *_with_indices grid_sampler grid_sampler_2d grid_sampler_3d "
        "gru gru_cell lstm lstm_cell rnn_relu rnn_tanh rnn_relu_cell rnn_tanh_cell",
        "a copy in place of a view: `.clone()` makes one": "alias_copy as_strided_copy c*_copy "
        "de*_copy di*_copy e*_copy indices_copy n*_copy p*_copy r*_copy s*_copy t*_copy u*_copy "
        "v*_copy",
        "types of PyTorch's compiler and its graphs": "AggregationType AliasDb AnyType Argument "
        "ArgumentSpec AwaitType Benchmark* Block BoolType BufferDict CallStack Capsule ClassType "
        "Code CompilationUnit CompleteArgumentSpec ComplexType ConcreteModule* DeepCopyMemoTable "
        "Deserialization* DeviceObjType DictType DisableTorch* DispatchKey* EnumType ErrorReport "
        "ExcludeDispatchKeyGuard ExecutionPlan FileCheck FloatType FunctionSchema Future "
        "FutureType Gradient Graph* IODescriptor InferredType IntType InterfaceType JITException "
        "ListType LiteScriptModule LockingLogger ModuleDict Node NoneType NoopLogger NumberType "
        "OperatorInfo OptionalType ParameterDict PyObjectType PyTorchFile* RRefType Script* "
        "SerializationStorageContext StaticModule StringType SymBool* SymFloat SymInt* Tag "
        "TensorType ThroughputBenchmark TracingState TupleType Type UnionType Use Value AVG SUM "
        "FatalError import_ir_module* merge_type_from_type_comment parse_* sym_* unify_type_list "
        "fork wait",
        _DEVICES: "AcceleratorError Event Stream StreamObjType get_device get_device_module "
        "is_vulkan_available OutOfMemoryError",
        "numbers of half precision, and mixed precision with them, are not supported": "autocast_* "
        "clear_autocast_cache get_autocast_* is_autocast_* set_autocast_* GradScaler "
        "CharStorage CharTensor ShortStorage ShortTensor",
        "memory of tensors is that of NumPy arrays": "*Storage is_storage resize_as_ layout "
        "memory_format",
        "of no use outside of PyTorch": _SHARED["of no use outside of PyTorch"]
        + " init_num_threads get_num_interop_threads set_num_interop_threads has_lapack has_mkl "
        "has_openmp has_spectral set_flush_denormal thread_safe_generator typename",
        "set_default_dtype is there": "set_default_tensor_type",
    },
    "Tensor": {
        **_SHARED,
        _COMPLEX: _SHARED[_COMPLEX] + " adjoint",
        _SPARSE: _SHARED[_SPARSE] + " coalesce ccol_indices col_indices crow_indices dense_dim "
        "indices is_coalesced is_sparse is_sparse_csr row_indices sparse_* to_dense to_sparse* "
        "values",
        _QUANTIZED: _SHARED[_QUANTIZED] + " is_quantized",
        _DEVICES: "ipu is_ipu is_maia is_meta is_mkldnn is_mps is_mtia is_vulkan is_xla is_xpu "
        "mtia xpu record_stream to_mkldnn get_device is_pinned pin_memory",
        "memory of tensors is that of NumPy arrays": "const_data_ptr data_ptr dim_order "
        "is_set_to is_shared layout resize resize_ resize_as resize_as_ set_ share_memory_ storage "
        "storage_offset storage_type untyped_storage",
        "deprecated in PyTorch": "eig lstsq lu solve symeig reinforce volatile "
        + _SHARED["deprecated in PyTorch"],
        _SIZES: "squeeze_ swapaxes_ swapdims_ t_ transpose_ unsqueeze_",
        _NUMBERS: _SHARED[_NUMBERS] + " nextafter_",
        _SPECIAL: _SHARED[_SPECIAL] + " igamma_ igammac_",
        _DTYPE: "char short",
        "strides are chosen by mynn": "new_empty_strided",
        "PyTorch's own kernels: x[index]": "index",
        "of no use outside of PyTorch": "as_subclass apply_ map_ map2_ module_load output_nr "
        "grad_dtype is_nested to_padded_tensor " + _SHARED["of no use outside of PyTorch"],
    },
    "nn": {
        "register_buffer is there": "Buffer UninitializedBuffer",
        "for vocabularies of 10^5 words and more": "LinearCrossEntropyOptions "
        "AdaptiveLogSoftmaxWithLoss",
        "there is one device": "DataParallel SyncBatchNorm",
        "deprecated in PyTorch": "Container NLLLoss2d factory_kwargs",
    },
    "nn.functional": {
        "what PyTorch's functions are made of": "Broadcasting* GRID_SAMPLE_* ScalingType "
        "SwizzleType TYPE_CHECKING Tensor assert_int_or_pair boolean_dispatch "
        "handle_torch_function has_torch_function* *_notes conv_tbc",
        "numbers of half precision": "grouped_mm scaled_grouped_mm scaled_mm",
        "the plain name has return_indices": "*_with_indices",
    },
    "nn.init": {
        "deprecated in PyTorch": "constant dirac eye kaiming_normal kaiming_uniform normal "
        "orthogonal sparse uniform xavier_normal xavier_uniform",
    },
    "nn.utils": {
        "memory of tensors is that of NumPy arrays": "convert_conv*",
    },
    "nn.utils.prune": {
        "a pruned weight keeps its methods itself": "PruningContainer",
    },
    "nn.utils.parametrize": {
        "what PyTorch's modules are made of": "cached transfer_parametrizations_and_params "
        "type_before_parametrizations",
    },
    "utils.checkpoint": {
        "nothing is computed twice": "Checkpoint* *_states set_checkpoint_* "
        "create_selective_checkpoint_contexts check_backward_validity detach_variable "
        "noop_context_fn DefaultDeviceType SelectiveCheckpointContext SAC_IGNORED_OPS "
        "GraphExecGroup",
    },
    "utils.data": {
        "data pipes are deprecated in PyTorch": "*DataPipe DataChunk argument_validation "
        "functional_datapipe guaranteed_datapipes_determinism non_deterministic "
        "runtime_validation*",
        "there is one process": "DistributedSampler",
    },
    "optim": {
        "a switch of PyTorch's modules": "swap_in_optimizer_params_and_state",
    },
    "distributions": {
        "seldom used in small networks; a log_prob is a line of tensor operations": "CatTransform "
        "ContinuousBernoulli CorrCholesky* CumulativeDistribution* FisherSnedecor "
        "GeneralizedPareto InverseGamma Kumaraswamy LKJCholesky LogisticNormal LowRank* "
        "LowerCholesky* PositiveDefinite* ReshapeTransform Stack* StickBreaking* VonMises Wishart",
        "a base class without methods": "ExponentialFamily",
        "constraints are ranges here": "biject_to transform_to",
    },
    "special": {
        _SPECIAL: "airy_ai bessel_* chebyshev_* erfcx gammainc* hermite_* i0 i0e i1 i1e laguerre_* "
        "legendre_* log_ndtr modified_* scaled_* shifted_* spherical_* zeta",
    },
    "func": {
        "einops, which is a package of its own": "rearrange",
        "of no use outside of PyTorch": "debug_unwrap",
        "traces have no changes in place: they are graphs": "functionalize",
    },
    "autograd": {
        "of no use outside of PyTorch": "NestedIOFunction enforce_grad_layout_policy "
        "set_multithreading_enabled variable",
    },
    "linalg": {
        _COMPLEX: "eig eigvals",
        _FACTORS: "householder_product ldl_* lu_factor* lu_solve",
        "what PyTorch's documents are made of": "common_notes",
    },
}
