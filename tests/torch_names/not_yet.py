"""Names that are not there yet; `python -m tests.torch_names --write` makes the list anew."""

from __future__ import annotations

NOT_YET: dict[str, str] = {
    "": (
        "Size abs_ acos_ acosh_ adaptive_max_pool1d addmv_ adjoint alpha_dropout alpha_dropout_ "
        "arccos_ arccosh_ arcsin_ arcsinh_ arctan_ arctanh_ are_deterministic_algorithms_enabled "
        "asin_ asinh_ atan_ atanh_ bartlett_window bilinear binomial blackman_window ceil_ celu "
        "celu_ channel_shuffle clamp_ clamp_max_ clamp_min_ clip_ concat conv3d conv_transpose3d "
        "corrcoef cos_ cosh_ cosine_embedding_loss cosine_similarity cov ctc_loss "
        "cumulative_trapezoid default_generator deg2rad_ detach detach_ diff dropout_ embedding "
        "embedding_bag empty_permuted empty_strided erf_ erfc_ exp2_ exp_ expm1_ "
        "feature_alpha_dropout feature_alpha_dropout_ fill fill_ fix_ floor_ frac_ frexp "
        "frobenius_norm from_file gcd gcd_ get_default_device get_deterministic_debug_mode "
        "get_float32_matmul_precision get_num_threads gradient gru hamming_window hann_window "
        "hardshrink hinge_embedding_loss histogram histogramdd i0 i0_ igamma igammac index_put_ "
        "instance_norm is_anomaly_check_nan_enabled is_anomaly_enabled "
        "is_deterministic_algorithms_warn_only_enabled is_same_size is_signed "
        "is_warn_always_enabled isin istft kaiser_window kl_div lcm lcm_ ldexp_ load lobpcg "
        "log10_ log1p_ log2_ log_ logit_ lu_unpack margin_ranking_loss matrix_exp max_pool3d "
        "median mode nan_to_num_ nanmedian nanquantile neg_ negative_ nextafter nonzero_static "
        "nuclear_norm pairwise_distance pdist pixel_shuffle pixel_unshuffle poisson_nll_loss "
        "prelu quantile rad2deg_ reciprocal_ relu_ renorm round_ rrelu rrelu_ rsqrt_ save selu "
        "selu_ set_anomaly_enabled set_default_device set_deterministic_debug_mode "
        "set_float32_matmul_precision set_num_threads set_printoptions set_warn_always sigmoid_ "
        "sin_ sinc_ sinh_ sqrt_ square_ stft tan_ tanh_ threshold threshold_ trapezoid trapz "
        "triplet_margin_loss trunc_ use_deterministic_algorithms vander vmap xlogy_ zero_ "
    ),
    "Tensor": (
        "addbmm_ addmm_ addmv_ addr_ baddbmm_ bernoulli char cholesky cholesky_inverse "
        "cholesky_solve corrcoef cov cross cumprod_ cumsum_ det diff fill_diagonal_ frexp gcd "
        "gcd_ grad_fn hardshrink histogram i0 i0_ igamma igamma_ igammac igammac_ index inverse "
        "is_same_size istft lcm lcm_ log_softmax logdet matrix_exp median mode multinomial "
        "nanmedian nanquantile narrow_copy new new_empty new_empty_strided new_full new_ones "
        "new_tensor new_zeros nextafter nextafter_ nonzero_static pinverse prelu qr quantile "
        "register_hook register_post_accumulate_grad_hook renorm renorm_ retain_grad retains_grad "
        "short slogdet softmax squeeze_ stft sum_to_size svd swapaxes_ swapdims_ t_ transpose_ "
        "tril_ triu_ unsqueeze_ "
    ),
    "nn": (
        "AdaptiveAvgPool3d AdaptiveLogSoftmaxWithLoss AdaptiveMaxPool3d AlphaDropout AvgPool3d "
        "BCELoss BatchNorm3d Bilinear Buffer CTCLoss ChannelShuffle CircularPad1d CircularPad2d "
        "CircularPad3d ConstantPad1d ConstantPad2d ConstantPad3d Conv3d ConvTranspose3d "
        "CosineEmbeddingLoss CosineSimilarity Dropout1d Dropout2d Dropout3d Embedding "
        "EmbeddingBag FeatureAlphaDropout Fold FractionalMaxPool2d FractionalMaxPool3d GRU "
        "GRUCell GaussianNLLLoss HingeEmbeddingLoss HuberLoss InstanceNorm1d InstanceNorm2d "
        "InstanceNorm3d KLDivLoss L1Loss LPPool1d LPPool2d LPPool3d LSTM LSTMCell LazyBatchNorm1d "
        "LazyBatchNorm2d LazyBatchNorm3d LazyConv1d LazyConv2d LazyConv3d LazyConvTranspose1d "
        "LazyConvTranspose2d LazyConvTranspose3d LazyInstanceNorm1d LazyInstanceNorm2d "
        "LazyInstanceNorm3d LazyLinear LinearCrossEntropyLoss LinearCrossEntropyOptions "
        "LocalResponseNorm MarginRankingLoss MaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d "
        "ModuleDict MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss "
        "MultiheadAttention PairwiseDistance ParameterDict ParameterList PixelShuffle "
        "PixelUnshuffle PoissonNLLLoss RNN RNNBase RNNCell RNNCellBase ReflectionPad1d "
        "ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d "
        "SmoothL1Loss SoftMarginLoss Transformer TransformerDecoder TransformerDecoderLayer "
        "TransformerEncoder TransformerEncoderLayer TripletMarginLoss "
        "TripletMarginWithDistanceLoss Unflatten Unfold UninitializedBuffer "
        "UninitializedParameter Upsample UpsamplingBilinear2d UpsamplingNearest2d ZeroPad1d "
        "ZeroPad2d ZeroPad3d "
    ),
    "nn.functional": (
        "adaptive_avg_pool3d adaptive_max_pool3d affine_grid alpha_dropout avg_pool3d bilinear "
        "binary_cross_entropy channel_shuffle conv3d conv_transpose3d cosine_embedding_loss "
        "cosine_similarity ctc_loss dropout1d dropout2d dropout3d embedding embedding_bag "
        "feature_alpha_dropout fold fractional_max_pool2d fractional_max_pool3d gaussian_nll_loss "
        "grid_sample hinge_embedding_loss huber_loss instance_norm interpolate kl_div l1_loss "
        "linear_cross_entropy local_response_norm lp_pool1d lp_pool2d lp_pool3d "
        "margin_ranking_loss max_pool3d max_unpool1d max_unpool2d max_unpool3d "
        "multi_head_attention_forward multi_margin_loss multilabel_margin_loss "
        "multilabel_soft_margin_loss normalize pad pairwise_distance pdist pixel_shuffle "
        "pixel_unshuffle poisson_nll_loss scaled_dot_product_attention smooth_l1_loss "
        "soft_margin_loss triplet_margin_loss triplet_margin_with_distance_loss unfold "
    ),
    "nn.init": ("dirac_ eye_ sparse_ trunc_normal_ "),
    "nn.utils": (
        "clip_grad_norm_ clip_grad_value_ clip_grads_with_norm_ fuse_conv_bn_eval "
        "fuse_conv_bn_weights fuse_linear_bn_eval fuse_linear_bn_weights get_total_norm "
        "parameters_to_vector remove_spectral_norm remove_weight_norm skip_init spectral_norm "
        "vector_to_parameters weight_norm "
    ),
    "optim": ("swap_in_optimizer_params_and_state "),
    "optim.lr_scheduler": (
        "ChainedScheduler ConstantLR CosineAnnealingLR CosineAnnealingWarmRestarts CyclicLR "
        "ExponentialLR LRScheduler LambdaLR LinearLR MultiStepLR MultiplicativeLR OneCycleLR "
        "PolynomialLR ReduceLROnPlateau SequentialLR StepLR "
    ),
    "optim.swa_utils": (
        "AveragedModel SWALR get_ema_avg_fn get_ema_multi_avg_fn get_swa_avg_fn "
        "get_swa_multi_avg_fn update_bn "
    ),
    "utils.data": (
        "BatchSampler ChainDataset ConcatDataset DataLoader Dataset IterableDataset RandomSampler "
        "Sampler SequentialSampler StackDataset Subset SubsetRandomSampler TensorDataset "
        "WeightedRandomSampler default_collate default_convert get_worker_info random_split "
    ),
    "distributions": (
        "AbsTransform AffineTransform Bernoulli Beta Binomial CatTransform Categorical Cauchy "
        "Chi2 ComposeTransform ContinuousBernoulli CorrCholeskyTransform "
        "CumulativeDistributionTransform Dirichlet Distribution ExpTransform Exponential "
        "ExponentialFamily FisherSnedecor Gamma GeneralizedPareto Geometric Gumbel HalfCauchy "
        "HalfNormal Independent IndependentTransform InverseGamma Kumaraswamy LKJCholesky Laplace "
        "LogNormal LogisticNormal LowRankMultivariateNormal LowerCholeskyTransform "
        "MixtureSameFamily Multinomial MultivariateNormal NegativeBinomial Normal "
        "OneHotCategorical OneHotCategoricalStraightThrough Pareto Poisson "
        "PositiveDefiniteTransform PowerTransform RelaxedBernoulli RelaxedOneHotCategorical "
        "ReshapeTransform SigmoidTransform SoftmaxTransform SoftplusTransform StackTransform "
        "StickBreakingTransform StudentT TanhTransform Transform TransformedDistribution Uniform "
        "VonMises Weibull Wishart biject_to identity_transform kl_divergence register_kl "
        "transform_to "
    ),
    "func": (
        "debug_unwrap functional_call functionalize grad grad_and_value hessian jacfwd jacrev jvp "
        "linearize rearrange replace_all_batch_norm_modules_ stack_module_state vjp vmap "
    ),
    "autograd": (
        "Function backward detect_anomaly enable_grad grad gradcheck gradgradcheck inference_mode "
        "no_grad set_detect_anomaly set_grad_enabled "
    ),
    "linalg": (
        "LinAlgError householder_product ldl_factor ldl_factor_ex ldl_solve lu lu_factor "
        "lu_factor_ex lu_solve matrix_exp "
    ),
    "special": (
        "airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 chebyshev_polynomial_t "
        "chebyshev_polynomial_u chebyshev_polynomial_v chebyshev_polynomial_w digamma entr erf "
        "erfc erfcx erfinv exp2 expit expm1 gammainc gammaincc gammaln hermite_polynomial_h "
        "hermite_polynomial_he i0 i0e i1 i1e laguerre_polynomial_l legendre_polynomial_p log1p "
        "log_ndtr log_softmax logit logsumexp modified_bessel_i0 modified_bessel_i1 "
        "modified_bessel_k0 modified_bessel_k1 multigammaln ndtr ndtri polygamma psi round "
        "scaled_modified_bessel_k0 scaled_modified_bessel_k1 shifted_chebyshev_polynomial_t "
        "shifted_chebyshev_polynomial_u shifted_chebyshev_polynomial_v "
        "shifted_chebyshev_polynomial_w sinc softmax spherical_bessel_j0 xlog1py xlogy zeta "
    ),
}
